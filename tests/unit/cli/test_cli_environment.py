"""What ``--env NAME`` means, and how configurations, guards and failures are told."""

from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import botocore.exceptions
import pytest
import urllib3.exceptions
from click.shell_completion import ShellComplete

from media_platform.contract.outputs import StackPart
from mediactl import main
from mediactl.client import ApiError
from mediactl.environment import AwsEnvironment, LocalEnvironment, load_environment
from mediactl.errors import FAILED, NOT_FOUND, REFUSED, USAGE, CommandError
from mediactl.failures import explain
from mediactl.local.aws import Emulator
from mediactl.local.deploy import Deployed, Deployment
from mediactl.local.state import StateFolder, write_json
from mediactl.main import cli
from mediactl.options import Consent


def write_app(**stages: Any) -> None:
    Path("cdk.json").write_text(json.dumps({"context": {"stages": stages}}))


def aws(name: str | None = None) -> AwsEnvironment:
    environment = load_environment(name)
    assert isinstance(environment, AwsEnvironment)
    return environment


@pytest.mark.parametrize("name", [None, "local", "local-blue"])
def test_planes_have_state_folders_of_their_names(name: str | None) -> None:
    environment = load_environment(name)
    assert isinstance(environment, LocalEnvironment)
    assert environment.state_dir == Path(f".{name or 'local'}")
    assert not environment.protected
    assert environment.is_local


def test_a_stage_of_the_app_is_an_environment() -> None:
    write_app(
        prod={"regions": [{"name": "us-east-1"}, {"name": "eu-west-1"}], "account": "111122223333"},
        dev={"regions": [{"name": "eu-west-1"}], "retain_data": False},
    )
    prod, dev = aws("prod"), aws("dev")
    assert (prod.stage, prod.regions, prod.account) == (
        "prod",
        ("us-east-1", "eu-west-1"),
        "111122223333",
    )
    assert prod.home_region == "us-east-1"
    assert prod.protected
    assert (dev.protected, dev.account, dev.is_local) == (False, None, False)


def test_the_file_of_the_project_goes_before_that_of_the_user_and_both_before_the_app() -> None:
    write_app(prod={"regions": [{"name": "us-east-1"}], "account": "1"})
    user = Path("../settings/mediactl/config.toml")
    user.parent.mkdir(parents=True)
    user.write_text('env = "dev"\n[environments.prod]\nprofile = "mine"\nstage = "prod"\n')
    Path("mediactl.toml").write_text(
        'env = "prod"\n[environments.prod]\nprofile = "ours"\nprotected = false\n'
    )
    Path("below").mkdir()
    prod = aws()
    assert (prod.name, prod.profile, prod.protected, prod.account) == ("prod", "ours", False, "1")


def test_a_file_of_the_project_is_found_from_below_and_names_folders_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = Path.cwd()
    Path("mediactl.toml").write_text('[environments.blue]\nstate_dir = "planes/blue"\napp = "."\n')
    Path("a/b").mkdir(parents=True)
    monkeypatch.chdir("a/b")
    blue = load_environment("blue")
    assert isinstance(blue, LocalEnvironment)
    assert blue.state_dir.resolve() == here / "planes/blue"
    assert blue.app.resolve() == here


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("env = ", "it is no TOML"),
        ("env = 1", "env is 1, and must be the name of an environment"),
        ("environments = 1", "environments is no table; write [environments.NAME]"),
        ("stage = 1", "unknown key 'stage', allowed are env, environments"),
        ("environments.prod = 1", "environments.prod is no table"),
        ("[environments.prod]\nregion = 1", "unknown key 'region' below environments.prod"),
        ("[environments.prod]\nregions = []", "must be a list of texts, with one at least"),
        ("[environments.prod]\nregions = [1]", "must be a list of texts, with one at least"),
        ("[environments.prod]\nprotected = 1", "protected is 1, and must be true or false"),
        ("[environments.prod]\naccount = 1111", "account is 1111, and must be a text in quotes"),
    ],
)
def test_a_wrong_configuration_is_told_in_a_line(
    text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mediactl.toml").write_text(text)
    with pytest.raises(CommandError) as raised:
        load_environment("prod")
    assert told in str(raised.value)
    assert "mediactl.toml: " in str(raised.value)
    assert raised.value.exit_code == USAGE


def test_an_unknown_environment_is_told_with_those_that_are_known() -> None:
    write_app(prod={"regions": [{"name": "us-east-1"}]})
    with pytest.raises(
        CommandError, match=r"no environment 'prd', known are local, prod"
    ) as raised:
        load_environment("prd")
    assert raised.value.exit_code == USAGE


def test_an_environment_without_regions_is_told() -> None:
    Path("mediactl.toml").write_text('[environments.prod]\nprofile = "x"\n')
    with pytest.raises(CommandError, match="regions of environment 'prod' are not known"):
        load_environment("prod")


def test_a_configuration_that_is_named_and_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDIACTL_CONFIG", "nowhere.toml")
    with pytest.raises(CommandError, match=r"MEDIACTL_CONFIG names nowhere.toml"):
        load_environment("prod")


@pytest.mark.parametrize(
    ("name", "command"), [("local", "local up"), ("local-blue", "local up -e local-blue")]
)
def test_what_needs_a_plane_says_how_that_comes_up_when_it_is_not(name: str, command: str) -> None:
    with pytest.raises(CommandError, match="the local plane is not up") as raised:
        load_environment(name).outputs(StackPart.STORE)
    assert raised.value.exit_code == NOT_FOUND
    assert raised.value.hint == f"run `mediactl {command}`"


def test_a_plane_that_has_another_stage_is_taken_down_or_gets_one_beside_it() -> None:
    state = StateFolder(Path(".local-blue"))
    state.create()
    deployment = Deployment(Path(), state, Emulator(1, 2, "secret"), print, "pair")
    emulator = hashlib.sha256(b"secret").hexdigest()
    write_json(state.deployed_file, asdict(Deployed(emulator)))
    with pytest.raises(CommandError, match="has the stage 'local', not 'pair'") as raised:
        deployment.check_stage()
    assert raised.value.hint is not None
    for command in ("local down -e local-blue", "local up -e local-pair --stage pair"):
        assert f"`mediactl {command}`" in raised.value.hint


def test_a_plane_in_a_folder_of_another_name_comes_up_by_its_folder() -> None:
    plane = LocalEnvironment("local", state_dir=Path("plane"), app=Path()).plane()
    with pytest.raises(CommandError) as raised:
        plane.endpoints()
    assert raised.value.hint == f"run `mediactl local up --state-dir {Path('plane').resolve()}`"


def test_a_video_that_is_not_there_is_told_with_the_command_that_lists_them() -> None:
    explained = explain(ApiError(404, {"type": "urn:problem:video-not-found", "detail": "at /api"}))
    assert str(explained) == "there is no video with this id that you may see"
    assert explained.hint is not None
    assert "mediactl videos list" in explained.hint
    assert explained.exit_code == NOT_FOUND


@pytest.mark.parametrize(
    ("protected", "yes", "confirm", "refused"),
    [
        (False, False, None, "add --yes"),
        (False, True, None, None),
        (True, True, None, "add --confirm prod"),
        (True, False, "prod", None),
        (False, True, "dev", "the same environment"),
        (True, True, "dev", "the same environment"),
    ],
)
def test_a_guard_wants_consent_and_the_name_of_what_is_protected(
    protected: bool, yes: bool, confirm: str | None, refused: str | None
) -> None:
    environment = AwsEnvironment(
        "prod", stage="prod", regions=("us-east-1",), app=Path(), protected=protected
    )
    consent = Consent(yes, confirm)
    if refused is None:
        consent.require(environment, "destroy it")
        return
    with pytest.raises(CommandError, match="would destroy it in 'prod'") as told:
        consent.require(environment, "destroy it")
    assert refused in (told.value.hint or "")
    assert told.value.exit_code == REFUSED


class Session:
    """Credentials of an account, of which a region does not answer."""

    def __init__(self, account: str, lost: str | None = None) -> None:
        self.account = account
        self.lost = lost

    def create_client(self, service: str, region: str, **_: Any) -> Session.Client:
        return Session.Client(self, service, region)

    class Client:
        """A client of a service in a region."""

        def __init__(self, session: Session, service: str, region: str) -> None:
            self.session = session
            self.where = (service, region)
            self.meta = mock.MagicMock()  # what limits of calls are set on

        def get_caller_identity(self) -> dict[str, str]:
            if self.where[1] == self.session.lost:
                raise botocore.exceptions.EndpointConnectionError(endpoint_url="https://x")
            return {"Account": self.session.account}


def prod_with(session: Session) -> AwsEnvironment:
    regions = ("us-east-1", "eu-west-1")
    environment = AwsEnvironment("prod", stage="prod", regions=regions, app=Path(), account="1")
    vars(environment)["_session"] = session
    return environment


def test_credentials_of_another_account_are_refused_in_every_region() -> None:
    prod = prod_with(Session("2"))
    for region in (*prod.regions, prod.home_region):
        with pytest.raises(CommandError, match="of account 2, prod is in 1") as told:
            prod.client("s3", region)
        assert told.value.exit_code == REFUSED


def test_other_regions_are_reached_while_the_home_region_is_lost() -> None:
    prod = prod_with(Session("1", lost="us-east-1"))
    with pytest.raises(botocore.exceptions.EndpointConnectionError):
        prod.client("s3")
    assert prod.client("s3", "eu-west-1").where == ("s3", "eu-west-1")


def aws_answer(code: str) -> botocore.exceptions.ClientError:
    return botocore.exceptions.ClientError(
        {"Error": {"Code": code, "Message": "It is\nso"}}, "DescribeStacks"
    )


@pytest.mark.parametrize(
    ("error", "told", "code"),
    [
        (botocore.exceptions.NoCredentialsError(), "there are no AWS credentials", FAILED),
        (botocore.exceptions.ProfileNotFound(profile="x"), "profile (x) could not be", FAILED),
        (
            botocore.exceptions.EndpointConnectionError(endpoint_url="https://x"),
            "AWS does not answer: ",
            FAILED,
        ),
        (aws_answer("ExpiredToken"), "the AWS credentials have expired", FAILED),
        (aws_answer("InvalidClientTokenId"), "does not accept the credentials: It is so", FAILED),
        (aws_answer("AccessDenied"), "may not call DescribeStacks: It is so", REFUSED),
        (aws_answer("Throttling"), "AWS throttles DescribeStacks", FAILED),
        (aws_answer("Other"), "AWS refused DescribeStacks: It is so (Other)", FAILED),
        (ApiError(404, {"detail": "no such video"}), "the API refused: no such video", NOT_FOUND),
        (ApiError(409, {"detail": "busy"}), "the API refused: busy", REFUSED),
        (ApiError(500, {}), "the API refused: HTTP status 500", FAILED),
        (ApiError(401, {"detail": "bad"}), "the API does not accept the token: bad", REFUSED),
        (urllib3.exceptions.LocationParseError("x"), "the platform does not answer", FAILED),
        (PermissionError(errno.EACCES, "Permission denied", "f"), "f: Permission denied", FAILED),
        (KeyError("x"), "KeyError: 'x'", FAILED),
    ],
)
def test_a_failure_is_told_in_a_line_with_a_remedy(error: Exception, told: str, code: int) -> None:
    explained = explain(error)
    assert told in str(explained)
    assert "\n" not in str(explained)
    assert explained.exit_code == code


def test_no_traceback_reaches_a_person_who_did_not_ask_for_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("of some kind")

    monkeypatch.setattr(main.cli, "main", fail)
    assert main.run(["local", "status"]) == FAILED
    told = capsys.readouterr().err
    assert told.startswith("error: ValueError: of some kind\nhint: ")
    assert "Traceback" not in told
    monkeypatch.setenv("MEDIACTL_DEBUG", "1")
    assert main.run(["local", "status"]) == FAILED
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "stage",
    [
        {"regions": ["eu-west-1"]},
        {"regions": "eu-west-1"},
        {"regions": [{"nam": "eu-west-1"}]},
        {"regions": [{"name": 1}]},
        {"regions": None},
        ["eu-west-1"],
    ],
)
def test_a_stage_that_cannot_be_read_is_told(stage: Any) -> None:
    Path("cdk.json").write_text(json.dumps({"context": {"stages": {"dev": stage}}}))
    with pytest.raises(CommandError, match=r"cdk\.json: the regions of stage 'dev'") as caught:
        load_environment("dev")
    assert caught.value.exit_code == USAGE


@pytest.mark.parametrize("content", [[], {"context": None}, {"context": {"stages": [1]}}])
def test_an_app_of_somebody_else_has_no_stages(content: Any) -> None:
    Path("cdk.json").write_text(json.dumps(content))
    with pytest.raises(CommandError, match="there is no environment 'dev'"):
        load_environment("dev")
    Path("mediactl.toml").write_text('[environments.dev]\napp = "."\n')
    with pytest.raises(CommandError, match="the regions of environment 'dev' are not known"):
        load_environment("dev")


def completed(*words: str) -> list[str]:
    """Return what a shell would offer after words on a command line."""
    *before, last = words
    found = ShellComplete(cli, {}, "mediactl", "_MEDIACTL_COMPLETE")
    return [one.value for one in found.get_completions(before, last)]


def test_a_shell_completes_environments_and_planes() -> None:
    write_app(dev={}, prod={})
    Path("mediactl.toml").write_text("[environments.data]\nstage = 'prod'\n")
    Path(".local-blue").mkdir()
    assert completed("status", "-e", "d") == ["data", "dev"]
    assert completed("videos", "list", "--env", "local") == ["local", "local-blue"]
    assert completed("local", "up", "-e", "") == ["local", "local-blue"]
    Path("mediactl.toml").write_text("[")
    assert completed("status", "-e", "d") == []


@pytest.mark.parametrize("path", [[], ["videos"]])
def test_who_puts_an_option_before_the_command_is_told_where_it_stands(
    path: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run([*path, "-e", "prod", "list"]) == USAGE
    words = " ".join(["mediactl", *path])
    assert capsys.readouterr().err == (
        f"error: `{words}` has no option -e\n"
        f"hint: options stand behind the command: `{words} COMMAND -e …`\n"
    )
