"""``mediactl seed`` on the plane of the session: the same result, however often and interrupted."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from command_line import Mediactl
from conftest import RunningPlane

from media_platform.contract.identity import ADMIN_GROUP, EDITOR_GROUP
from media_platform.contract.ids import new_id
from mediactl.access.accounts import Accounts
from mediactl.checking.smoke import CLIP
from mediactl.client import MediaClient
from mediactl.environment import Environment, load_environment
from mediactl.errors import FAILED, REFUSED
from mediactl.seeds.seed_file import read_seed_file
from mediactl.seeds.seeding import ACCOUNT, Seeding

PASSWORD = "Correct-Horse-7-Battery"


@pytest.fixture(scope="module")
def environment(mediactl: Mediactl) -> Environment:
    with mediactl.settings():
        return load_environment("local")


@pytest.fixture
def tenant() -> str:
    """A tenant of which no other test knows."""
    return f"seed-{new_id()[-12:]}"


@pytest.fixture
def file(tmp_path: Path, tenant: str) -> Path:
    """A seed file of all kinds of things."""
    (tmp_path / "clip.mp4").write_bytes(CLIP.read_bytes())
    path = tmp_path / "seed.toml"
    path.write_text(f"""
[[tenants]]
name = "{tenant}"
quota = {{ videos = 9, stored_bytes = 9_000_000, uploads = 9 }}
[[users]]
email = "ada@{tenant}.example"
tenant = "{tenant}"
groups = ["editor", "admin"]
password = "{PASSWORD}"
[[users]]
email = "vera@{tenant}.example"
tenant = "{tenant}"
name = "Vera"
[[videos]]
tenant = "{tenant}"
title = "A file"
file = "clip.mp4"
tags = ["sample"]
visibility = "PUBLIC"
[[videos]]
tenant = "{tenant}"
title = "A sample"
sample = {{ seconds = 1, width = 320, height = 180 }}
""")
    return path


def owner_of(environment: Environment, tenant: str) -> MediaClient:
    """Return a client of the account that owns the videos."""
    accounts, name = Accounts.of(environment), f"{ACCOUNT}{tenant}"
    accounts.ensure(name, tenant=tenant, groups=[ADMIN_GROUP, EDITOR_GROUP])
    return MediaClient(environment.base_url, accounts.sign_in(name))


def titles(environment: Environment, tenant: str) -> Counter[str]:
    page = owner_of(environment, tenant).call("GET", "/api/videos", query={"owner": "me"})
    return Counter(video["title"] for video in page["videos"])


def addresses(mediactl: Mediactl, tenant: str) -> Counter[str]:
    listed = mediactl("users", "list", "--tenant", tenant, "--json").json["users"]
    return Counter(user["email"].partition("@")[0] for user in listed)


def results(report: dict[str, Any], what: str) -> list[str]:
    return [one["result"] for one in report[what]]


def sign_in(plane: RunningPlane, outputs: dict[str, str], email: str, password: str) -> Any:
    return plane.client("cognito-idp").initiate_auth(
        ClientId=outputs["UserPoolClientId"],
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": email, "PASSWORD": password},
    )


def test_all_is_there_and_stays_the_same_when_it_is_seeded_again(
    mediactl: Mediactl,
    environment: Environment,
    plane: RunningPlane,
    outputs: dict[str, str],
    file: Path,
    tenant: str,
) -> None:
    dry = mediactl("seed", "--file", str(file), "--dry-run", "--json").json
    assert not dry["changed"]
    assert {*results(dry, "users"), *results(dry, "videos")} == {"created"}
    assert addresses(mediactl, tenant) == {}

    first = mediactl("seed", "--file", str(file), "--passwords", "--json").json
    assert results(first, "tenants") == ["created"]
    assert results(first, "users") == ["created", "created"]
    assert [(one["result"], one["status"]) for one in first["videos"]] == [
        ("created", "READY"),
        ("created", "READY"),
    ]
    ada, vera = first["users"]
    assert ada["first_password"] is None
    assert "AuthenticationResult" in sign_in(plane, outputs, ada["email"], PASSWORD)
    started = sign_in(plane, outputs, vera["email"], vera["first_password"])
    assert started["ChallengeName"] == "NEW_PASSWORD_REQUIRED"
    shown = mediactl("users", "show", ada["email"], "--tenant", tenant, "--json").json
    assert shown["groups"] == ["admin", "editor"]
    video = owner_of(environment, tenant).video(first["videos"][0]["video_id"])
    assert (video["visibility"], video["tags"]) == ("PUBLIC", ["sample"])
    quota = mediactl("tenants", "show", tenant, "--json").json["quota"]
    assert quota == {"videos": 9, "stored_bytes": 9_000_000, "uploads": 9}

    again = mediactl("seed", "--file", str(file), "--json").json
    assert {*results(again, "users"), *results(again, "videos"), *results(again, "tenants")} == {
        "found"
    }
    assert [v["video_id"] for v in again["videos"]] == [v["video_id"] for v in first["videos"]]
    assert "A sample" in mediactl("seed", "--file", str(file), "--dry-run").stdout
    # A video that somebody deletes is made anew, although the API remembers the request.
    path = f"/api/videos/{first['videos'][0]['video_id']}"
    owner_of(environment, tenant).call("DELETE", path)
    anew = mediactl("seed", "--file", str(file), "--json").json
    assert results(anew, "videos") == ["created", "found"]
    assert titles(environment, tenant) == {"A file": 1, "A sample": 1}
    assert addresses(mediactl, tenant) == {"ada": 1, "vera": 1, f"{ACCOUNT}{tenant}": 1}


def test_two_at_the_same_time_make_nothing_twice(
    mediactl: Mediactl, environment: Environment, file: Path, tenant: str
) -> None:
    content = read_seed_file(file).model_copy(update={"tenants": []})

    def seed(_: int) -> list[str | None]:
        with_own_clients = load_environment("local")
        report = Seeding(with_own_clients, content, file.parent).run()
        return [video.video_id for video in report.videos]

    with mediactl.settings(), ThreadPoolExecutor(2) as pool:
        first, second = pool.map(seed, range(2))
    assert first == second
    assert titles(environment, tenant) == {"A file": 1, "A sample": 1}
    assert addresses(mediactl, tenant) == {"ada": 1, "vera": 1, f"{ACCOUNT}{tenant}": 1}


def test_a_run_goes_on_with_what_a_killed_one_began(
    mediactl: Mediactl, environment: Environment, file: Path, tenant: str
) -> None:
    with subprocess.Popen(
        mediactl.program("seed", "--file", str(file)),
        env={**os.environ, **mediactl.variables()},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("video "):
                process.kill()
                break
    # As one that is killed between the video and its file.
    body = {
        "title": "A file",
        "file_name": "clip.mp4",
        "content_type": "video/mp4",
        "size_bytes": CLIP.stat().st_size,
    }
    if not titles(environment, tenant)["A file"]:
        owner_of(environment, tenant).create(body, key=new_id())
    report = mediactl("seed", "--file", str(file), "--json").json
    assert {video["status"] for video in report["videos"]} == {"READY"}
    assert titles(environment, tenant) == {"A file": 1, "A sample": 1}
    assert addresses(mediactl, tenant) == {"ada": 1, "vera": 1, f"{ACCOUNT}{tenant}": 1}


def test_what_cannot_be_seeded_is_told(
    mediactl: Mediactl, environment: Environment, tmp_path: Path, tenant: str
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no film" * 100)
    file = tmp_path / "seed.toml"
    file.write_text(f'[[videos]]\ntenant = "{tenant}"\ntitle = "None"\nfile = "clip.mp4"\n')
    for _ in range(2):
        answer = mediactl("seed", "--file", str(file))
        assert answer.exit_code == FAILED
        assert "not_a_video" in answer.stdout

    email = f"{new_id()[-12:]}@example.com"
    Accounts.of(environment).create(
        new_id(), email=email, tenant="acme", temporary_password=PASSWORD
    )
    file.write_text(f'[[users]]\nemail = "{email}"\ntenant = "{tenant}"\n')
    answer = mediactl("seed", "--file", str(file))
    assert answer.exit_code == REFUSED
    assert "acme" in answer.stderr
