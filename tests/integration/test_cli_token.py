"""``mediactl token``: signing in to the platform of the plane, and what is kept of it."""

from __future__ import annotations

import io
import os
import pty
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Answer, Mediactl
from conftest import REPOSITORY, RunningPlane
from journey import Person, sign_in
from second_factor import totp

from media_platform.contract.identity import ADMIN_GROUP
from media_platform.contract.ids import new_id
from mediactl.access import sessions
from mediactl.environment import Environment, load_environment
from mediactl.errors import REFUSED, USAGE
from mediactl.local.aws import root_environment

PASSWORD = "Correct-Horse-7-Battery"


@pytest.fixture(scope="module")
def root(platform: Environment) -> Person:
    tenant = f"tenant-{new_id()}"
    return sign_in(platform, f"root-{tenant[-12:]}", tenant=tenant, group=ADMIN_GROUP)


@pytest.fixture
def home(plane: RunningPlane, tmp_path: Path) -> Mediactl:
    """The command line of somebody who never signed in."""
    return Mediactl.of_plane(tmp_path, state_dir=plane.plane.state.root, app=REPOSITORY)


@pytest.fixture
def invited(root: Person) -> tuple[str, str]:
    """Address and first password of a user who was just invited."""
    email = f"{new_id()}@example.com"
    body = {"email": email, "groups": ["editor"], "invite": False}
    made = root.request("POST", "/api/admin/users", json=body)
    return email, made.json()["temporary_password"]


def typed(
    home: Mediactl, monkeypatch: pytest.MonkeyPatch, lines: list[str], *words: str, **more: str
) -> Answer:
    """Run a command whose stdin is no terminal and has some lines."""
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    return home("token", *words, **more)


def kept(home: Mediactl) -> Iterator[Path]:
    return (home.home / "state").rglob("*.json")


def test_the_first_password_is_replaced_and_the_session_is_kept(
    home: Mediactl,
    invited: tuple[str, str],
    root: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    email, first = invited
    done = typed(home, monkeypatch, [email, first, PASSWORD], "login", "--json")
    assert done.json == {"environment": "local", "user": email}
    (file,) = kept(home)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert first not in file.read_text()
    assert PASSWORD not in file.read_text()

    shown = home("token", "show", "--json").json
    assert shown["groups"] == ["editor"]
    assert shown["tenant"] != "demo"
    assert home("token", "show").stdout.count("\n") == 1
    person = Person(root.client, shown["access_token"], root.base_url)
    assert person.request("GET", "/api/videos").status == 200
    assert shown["access_token"] not in file.read_text()


def test_signed_out_nothing_is_left_and_the_refresh_token_is_of_no_use(
    home: Mediactl, invited: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    email, first = invited
    typed(home, monkeypatch, [first, PASSWORD], "login", "--user", email)
    (file,) = kept(home)
    content = file.read_text()
    assert home("token", "logout", "--json").json == {"environment": "local", "user": email}
    assert list(kept(home)) == []
    assert home("token", "logout").stderr == "nobody was signed in to local\n"

    file.write_text(content)
    refused = home("token", "show")
    assert (refused.exit_code, refused.stdout) == (REFUSED, "")
    assert f"the session of {email} at local has ended" in refused.stderr
    assert "mediactl token login -e local" in refused.stderr


def test_a_second_factor_is_asked_for(
    home: Mediactl,
    invited: tuple[str, str],
    plane: RunningPlane,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    email, first = invited
    typed(home, monkeypatch, [first, PASSWORD], "login", "--user", email)
    access = home("token", "show").stdout.strip()
    cognito = plane.client("cognito-idp")
    secret = cognito.associate_software_token(AccessToken=access)["SecretCode"]
    cognito.verify_software_token(AccessToken=access, UserCode=totp(secret))
    cognito.set_user_mfa_preference(
        AccessToken=access, SoftwareTokenMfaSettings={"Enabled": True, "PreferredMfa": True}
    )
    wrong = [PASSWORD, totp(secret, steps=1000)]
    refused = typed(home, monkeypatch, wrong, "login", "--user", email)
    assert (refused.exit_code, "code of the authenticator" in refused.stderr) == (REFUSED, True)
    given = typed(
        *(home, monkeypatch, [totp(secret)], "login", "--user", email), MEDIACTL_PASSWORD=PASSWORD
    )
    assert (given.exit_code, given.stderr) == (0, f"{email} is signed in to local\n")


def test_a_wrong_password_is_refused_and_nothing_of_it_is_told(
    home: Mediactl, invited: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    email, _ = invited
    refused = typed(home, monkeypatch, ["Wrong-Horse-9-Battery"], "login", "--user", email)
    assert refused.exit_code == REFUSED
    assert f"{email} cannot sign in with this password" in refused.stderr
    assert "Horse" not in refused.stderr
    missing = typed(home, monkeypatch, [], "login", "--user", email)
    assert (missing.exit_code, "the password is missing" in missing.stderr) == (USAGE, True)


def test_at_a_terminal_a_password_is_not_shown(home: Mediactl, invited: tuple[str, str]) -> None:
    email, first = invited
    master, terminal = pty.openpty()
    with subprocess.Popen(
        home.program("token", "login"),
        env={**os.environ, **home.variables()},
        cwd=home.home,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
    ) as process:
        os.close(terminal)
        seen = ""
        for question, reply in (
            ("address: ", email),
            ("password: ", first),
            ("new password: ", PASSWORD),
            ("Repeat for confirmation: ", PASSWORD),
        ):
            while question not in seen:
                seen += os.read(master, 1024).decode()
            seen = seen.partition(question)[2]
            os.write(master, f"{reply}\n".encode())
        shown = ""
        while "is signed in" not in shown:
            shown += os.read(master, 1024).decode()
        assert process.wait(30) == 0
    os.close(master)
    assert first not in seen + shown
    assert PASSWORD not in seen + shown


def test_a_token_that_is_given_is_taken(home: Mediactl, root: Person) -> None:
    shown = home("token", "show", MEDIACTL_TOKEN=root.token)
    assert shown.stdout == f"{root.token}\n"
    refused = home("token", "show", "--tenant", "other", MEDIACTL_TOKEN=root.token)
    assert (refused.exit_code, root.token in refused.stderr) == (REFUSED, False)
    broken = home("token", "show", MEDIACTL_TOKEN="secret-garbage")
    assert (broken.exit_code, "secret-garbage" in broken.stderr) == (REFUSED, False)


def test_on_a_plane_a_user_is_made_on_the_spot(home: Mediactl) -> None:
    shown = [
        home("token", "show", "--json").json,
        home("token", "show", "--json", MEDIACTL_TENANT="acme").json,
        home("token", "show", "--json", "--tenant", "globex").json,
        home("token", "show", "--json", "--tenant", "globex").json,
    ]
    assert [one["tenant"] for one in shown] == ["demo", "acme", "globex", "globex"]
    assert {frozenset(one["groups"]) for one in shown} == {frozenset({"admin", "editor"})}
    assert shown[2]["user"] == shown[3]["user"]


def test_in_aws_nobody_is_signed_in_before_he_signs_in(
    home: Mediactl,
    invited: tuple[str, str],
    plane: RunningPlane,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    email, first = invited
    with (home.home / "mediactl.toml").open("a") as settings:
        settings.write('[environments.cloud]\nstage = "local"\nregions = ["us-east-1"]\n')
        settings.write("protected = true\n")
    cloud = Mediactl(home.home, {**home.environment, **root_environment(plane.emulator.url)})
    refused = cloud("videos", "list", "-e", "cloud")
    assert (refused.exit_code, refused.stdout) == (REFUSED, "")
    assert "nobody is signed in to cloud" in refused.stderr
    assert "mediactl token login -e cloud" in refused.stderr

    lines = [email, first, PASSWORD]
    assert typed(cloud, monkeypatch, lines, "login", "-e", "cloud").exit_code == 0
    assert cloud("videos", "list", "-e", "cloud", "--json").json == {"videos": [], "more": False}
    protected = cloud("videos", "delete", new_id(), "--forever", "--yes", "-e", "cloud")
    assert (protected.exit_code, "--confirm cloud" in protected.stderr) == (REFUSED, True)


def test_a_client_whose_token_is_refused_gets_another(home: Mediactl) -> None:
    with home.settings({"MEDIACTL_TENANT": f"tenant-{new_id()}"}):
        environment = load_environment("local")
        tokens = sessions.tokens(environment)
        client = sessions.client(environment)
    tokens.current()
    client._tokens._token = "expired"
    assert client.call("GET", "/api/videos")["videos"] == []
    assert client._tokens.current() != "expired"
    operator = sessions.client(environment, operator=True)
    assert "tenants" in operator.call("GET", "/api/admin/tenants")
