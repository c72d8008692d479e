"""Every command, called where it cannot work: a line that says why, a remedy, the right code."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from command_tree import examples
from loopback_server import QuietHandler, serving
from mediactl_docs import commands

from media_platform.contract.ids import new_id
from mediactl import main
from mediactl.access import sessions
from mediactl.access.admin import User, UserList
from mediactl.client import ApiError
from mediactl.commands import users
from mediactl.environment import load_environment
from mediactl.errors import (
    EXIT_CODES,
    FAILED,
    HUNG_UP,
    INTERRUPTED,
    NOT_FOUND,
    REFUSED,
    TERMINATED,
    USAGE,
    Asked,
    CommandError,
)
from mediactl.failures import explain
from mediactl.options import SINCE, Amount

ALL = commands()
STANDS_FOR = {
    "EMAIL": "ada@example.com",
    "FILE": "film.mp4",
    "FOLDER": "downloads",
    "MESSAGE": "a-message",
    "REGION": "us-east-1",
    "TENANT": "demo",
    "USER": "ada@example.com",
    "VIDEO": new_id(),
}
WORK_WITHOUT_A_PLANE = {"doctor", "local calls", "local down", "local reset"}
"""Commands that say what there is, or have nothing to do, where nothing is up."""

NEED_AN_APP = {"bootstrap", "deploy", "destroy", "diff", "estimate", "region", "synth"}
"""Commands that look at the app before they ask AWS."""

ASKS_AWS = [name for name in ALL if name.split()[0] not in {"doctor", "drill", "estimate", "local"}]
OF_A_VIDEO = [
    name for name in ALL if name.startswith("videos ") and "VIDEO" in examples(ALL[name])[0]
]

SECRET = "wJalrXUtnFEMI-K7MDENG"


def words(name: str, environment: str | None) -> list[str]:
    """Return the first example of a command, with another environment."""
    named = {**STANDS_FOR, "prod": environment or "local"}  # also what --confirm names
    given = iter(examples(ALL[name])[0])
    kept = [named.get(one, one) for one in given if one != "-e" or not next(given)]
    return kept if environment is None else [*kept, "-e", environment]


def told(name: str, environment: str | None, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a command, and return its code and what it said, after what holds for all."""
    Path("film.mp4").write_bytes(b"film")
    code = main.run(words(name, environment))
    said = "".join(capsys.readouterr())
    assert code in EXIT_CODES
    assert "Traceback" not in said
    assert "not foreseen" not in said
    assert SECRET not in said
    return code, said


@pytest.mark.parametrize("name", ALL)
def test_an_unknown_environment_is_refused_by_every_command(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = told(name, "prd", capsys)
    assert code == USAGE
    assert said.startswith("error: there is no environment 'prd', known are local\nhint: ")


@pytest.mark.parametrize("name", sorted({*ALL} - WORK_WITHOUT_A_PLANE))
def test_every_command_says_that_no_plane_is_up_or_that_here_is_no_app(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = told(name, None, capsys)
    assert code in {FAILED, NOT_FOUND, REFUSED}
    if name != "local status":
        assert said.startswith("error: ")
        assert "\nhint: " in said


class Garbage(QuietHandler):
    """Answers as the sign-in page of a hotel does."""

    def do_POST(self) -> None:  # noqa: N802  the name that the server calls
        """Answer whatever is asked."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, b"<html>Welcome! Please sign in.")


class Refusal(QuietHandler):
    """Answers as AWS does to credentials that have expired."""

    def do_POST(self) -> None:  # noqa: N802  the name that the server calls
        """Answer whatever is asked."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(
            403,
            b"<ErrorResponse><Error><Code>ExpiredToken</Code><Message>The security token is"
            b" expired</Message></Error></ErrorResponse>",
            Content_Type="text/xml",
        )


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in AWS, with credentials and an app."""
    Path("mediactl.toml").write_text(
        '[environments.cloud]\nregions = ["us-east-1", "eu-west-1"]\nprotected = false\n'
    )
    Path("cdk.json").write_text("{}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return monkeypatch


@pytest.mark.parametrize(
    ("handler", "expected"),
    [(Garbage, "what answers is not AWS"), (Refusal, "the AWS credentials have expired")],
)
def test_every_command_tells_what_answers_in_place_of_aws(
    handler: type[QuietHandler],
    expected: str,
    aws: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving(handler) as url:
        aws.setenv("AWS_ENDPOINT_URL", url)
        for name in ASKS_AWS:
            code, said = told(name, "cloud", capsys)
            assert code == FAILED, name
            assert said.startswith(f"error: {expected}"), name
            assert "\nhint: " in said


@pytest.mark.usefixtures("aws")
def test_a_takeover_takes_consent_before_anything_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["region", "takeover", "us-east-1", "--by", "eu-west-1", "-e", "cloud"]
    assert main.run(words) == REFUSED
    assert capsys.readouterr().err == (
        "error: this would make eu-west-1 home to the videos of us-east-1 in 'cloud'\n"
        "hint: if that is what you want, add --yes\n"
    )


def test_a_command_says_that_credentials_are_missing(
    aws: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ASKS_AWS:
        _, said = told(name, "cloud", capsys)
        assert "there are no AWS credentials" in said or "partial" in said.lower(), name


@pytest.mark.parametrize("given", ["two\nlines", "é", "with space", "\x1b[31m"])
def test_a_token_that_no_header_holds_is_refused_and_not_shown(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIACTL_TOKEN", given)
    with pytest.raises(CommandError, match=r"^that is no access token$") as raised:
        sessions.access_token(load_environment("local"))
    assert raised.value.exit_code == REFUSED


def test_a_token_may_end_in_a_line_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIACTL_TOKEN", "a.b.c\r\n")
    assert sessions.access_token(load_environment("local")) == "a.b.c"


@pytest.mark.parametrize("name", OF_A_VIDEO)
@pytest.mark.parametrize("given", ["", "../../admin", "\x1b[31m", "x" * 10_000])
def test_what_is_no_id_of_a_video_is_refused_before_anything_is_asked(
    name: str, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [given if one == STANDS_FOR["VIDEO"] else one for one in words(name, None)]
    assert main.run(asked) == USAGE
    assert "is no id of a video" in capsys.readouterr().err


def test_an_id_of_a_time_after_all_time_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["logs", "--video", "ffffffff-ffff-7fff-bfff-ffffffffffff"]) == USAGE
    assert "is no id of a video" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["", "../x", "a\x1b[31m", "a" * 65, "two words"])
@pytest.mark.parametrize("words", [["videos", "list", "--tenant"], ["tenants", "show"]])
def test_what_is_no_name_of_a_tenant_is_refused_before_anything_is_asked(
    words: list[str], given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run([*words, given]) == USAGE
    assert "is no name of a tenant" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["local-../x", "local-\x1b[31m", "local-" + "a" * 100])
def test_a_plane_is_called_as_a_folder_can_be(
    given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["status", "-e", given]) == USAGE
    assert "is no name of a plane on this machine" in capsys.readouterr().err


def test_words_that_fill_a_screen_are_told_without_their_middle(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main.run(["videos", "show", "x" * 100_000])
    assert len(capsys.readouterr().err) < 300


def folder(file: Path) -> None:
    file.mkdir()


def loop(file: Path) -> None:
    file.symlink_to(file.name)


@pytest.mark.parametrize("make", [folder, loop])
def test_a_configuration_that_is_no_file_is_not_passed_over(
    make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    make(Path("mediactl.toml"))
    assert main.run(["status"]) == USAGE
    assert capsys.readouterr().err.endswith(
        "mediactl.toml is no file\nhint: make it one, or remove it\n"
    )


def test_a_person_without_a_home_folder_is_told_where_sessions_would_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert main.run(["status"]) == NOT_FOUND
    assert "the local plane is not up" in capsys.readouterr().err
    with pytest.raises(CommandError, match="there is no home folder") as raised:
        sessions.user_state()
    assert raised.value.hint


@pytest.mark.parametrize("given", ["0001-01-01", "0001-01-01T00:00+14:00", "99999d"])
def test_times_before_all_time_are_refused(given: str) -> None:
    with pytest.raises(click.BadParameter, match="is before all time"):
        SINCE.convert(given, None, None)


@pytest.mark.parametrize("given", ["nan", "inf", "-inf", "-1", "1e999"])
def test_numbers_that_no_limit_holds_are_refused(given: str) -> None:
    with pytest.raises(click.BadParameter):
        Amount(min=0).convert(given, None, None)


def test_addresses_of_users_do_nothing_to_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    user: dict[str, Any] = dict.fromkeys(User.__dataclass_fields__, "")
    user |= {"groups": [], "enabled": True, "email": "[/red]a\x1b[2J\n@b.example"}
    users._show_list(UserList(users=[User(**user)], more=False))
    shown = capsys.readouterr().out
    assert "[/red]a\ufffd[2J\ufffd@b.example" in shown


def test_errors_do_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["videos", "list", "-e", "a\x1b]0;b\x07"])
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "told", "hint"),
    [
        (["vidoes"], "there is no command `mediactl vidoes`", "did you mean videos?"),
        (["videos", "lst"], "there is no command `mediactl videos lst`", "did you mean list?"),
        (["x"], "there is no command `mediactl x`", "`mediactl --help` lists those there are"),
        (["seed", "--fil", "x"], "no such option '--fil'", "did you mean --file?"),
        (["seed", "x"], "got unexpected extra argument (x)", "see `mediactl seed --help`"),
        (["status", "-e", "Locl"], "there is no environment 'Locl'", "did you mean local?"),
        (["videos", "show"], "missing argument 'VIDEO'", "see `mediactl videos show --help`"),
        (["top", "--region", "x\n\x1b[2J"], "the local plane is not up", "run `mediactl local up`"),
    ],
)
def test_a_mistyped_word_is_told_in_a_line_with_what_was_meant(
    given: list[str], told: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(given) in {USAGE, NOT_FOUND}
    said = capsys.readouterr().err
    assert said.startswith(f"error: {told}")
    assert said.endswith(f"\nhint: {hint}\n")
    assert said.count("\n") == 2


def test_lines_of_others_do_not_pass_for_what_this_tool_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main._tell(
        CommandError("cdk failed:\nhint: run `rm -r ~`\x1b[1A", hint="no\nerror: x"), Asked()
    )
    assert capsys.readouterr().err == (
        "error: cdk failed:\n  hint: run `rm -r ~`\ufffd[1A\nhint: no\n  error: x\n"
    )


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        ("deploy it: `mediactl deploy`", "deploy it: `mediactl deploy -e prod`"),
        (
            "`mediactl dlq list --all` or `mediactl top`",
            "`mediactl dlq list --all -e prod` or `mediactl top -e prod`",
        ),
        ("`mediactl videos show X -e dev --json`, `mediactl local up`", "the same"),
        ("`mediactl seed --help` says it", "the same"),
    ],
)
def test_commands_in_hints_are_for_the_environment_that_was_named(hint: str, shown: str) -> None:
    assert Asked("prod").in_environment(hint) == (hint if shown == "the same" else shown)
    assert Asked().in_environment(hint) == hint


@pytest.mark.parametrize(
    ("status", "kind", "expected", "code"),
    [
        (404, "user-not-found", "there is no such user that you may see", NOT_FOUND),
        (404, "tenant-not-found", "there is no such tenant that you administer", NOT_FOUND),
        (404, "not-found", "the API does not offer this", NOT_FOUND),
        (422, "invalid-request", "the API refused: list them at /api/admin/x", USAGE),
        (500, "internal", "the API refused: list them at /api/admin/x", FAILED),
    ],
)
def test_what_the_api_refuses_is_told_with_a_remedy(
    status: int, kind: str, expected: str, code: int
) -> None:
    problem = {"type": f"urn:problem:{kind}", "detail": "list them at /api/admin/x"}
    explained = explain(ApiError(status, problem))
    assert (str(explained), explained.exit_code) == (expected, code)
    assert explained.hint
    assert "/api/" not in explained.hint


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.ELOOP, errno.EROFS])
def test_what_the_system_refuses_is_told_with_a_remedy(number: int) -> None:
    explained = explain(OSError(number, os.strerror(number), "film.mp4"))
    assert str(explained) == f"film.mp4: {os.strerror(number)}"
    assert explained.hint


def test_a_folder_that_was_removed_under_a_command_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main.run(["status"]) == FAILED
    assert capsys.readouterr().err == (
        "error: the folder in which this runs was removed\nhint: go to another one with `cd`\n"
    )


def test_an_argument_that_is_no_utf_8_is_told() -> None:
    with pytest.raises(UnicodeEncodeError) as raised:
        "\udcff".encode()
    explained = explain(raised.value)
    assert explained.exit_code == USAGE
    assert explained.hint


def printing(text: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """Run a process whose command prints a text and ends well."""
    return running(f"@click.command()\ndef command():\n    print({text!r})", **streams)


def running(command: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """Run a process with one ``command``."""
    program = (
        f"import signal, sys\nimport click\nimport mediactl.main as main\n{command}\n"
        "main.cli = command\nsys.argv = ['mediactl']\nmain.main()"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONIOENCODING": "ascii"}
    return subprocess.run(
        [sys.executable, "-c", program],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        timeout=60,
        check=False,
        **streams,
    )


def test_letters_that_a_terminal_does_not_know_are_shown_as_question_marks() -> None:
    done = printing("h\u00e9 \u2026", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "h? ?\n", "")


def test_a_full_disk_is_told_once() -> None:
    with Path("/dev/full").open("w") as full:
        done = printing("text", stdout=full)
    assert done.returncode == FAILED
    error, hint = done.stderr.splitlines()
    assert error == "error: No space left on device"
    assert hint.startswith("hint: make room")


def test_a_reader_who_has_read_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = printing("text", stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (FAILED, "")


def test_ctrl_c_while_commands_are_imported_is_told_in_a_line() -> None:
    program = (
        "import os, signal, sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from mediactl.__main__ import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", "interrupted\n")


@pytest.mark.parametrize(
    ("sent", "code", "told"),
    [
        (signal.SIGINT, INTERRUPTED, "interrupted: it goes on\n"),
        (signal.SIGTERM, TERMINATED, "ended by SIGTERM: it goes on\n"),
        (signal.SIGHUP, HUNG_UP, "ended by SIGHUP: it goes on\n"),
    ],
)
def test_who_asks_a_command_to_end_is_told_once_that_all_is_in_order(
    sent: signal.Signals, code: int, told: str
) -> None:
    done = running(
        "@click.command()\n"
        "def command():\n"
        "    try:\n"
        f"        signal.raise_signal({int(sent)})\n"
        "    except KeyboardInterrupt as end:\n"
        "        end.add_note('it goes on')\n"
        "        print('in order')\n"
        "        raise\n",
        stdout=subprocess.PIPE,
    )
    # Click ends the line on which a terminal shows ^C.
    assert (done.returncode, done.stdout, done.stderr.lstrip()) == (code, "in order\n", told)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_must_not_be_half_done_is_done_before_a_command_ends(sent: signal.Signals) -> None:
    done = running(
        "from mediactl.interrupts import uninterrupted\n"
        "@click.command()\n"
        "def command():\n"
        "    with uninterrupted():\n"
        f"        signal.raise_signal({int(sent)})\n"
        "        print('done')\n"
        "    print('never')\n",
        stdout=subprocess.PIPE,
    )
    assert (done.returncode, done.stdout) == (128 + sent, "done\n")


def test_who_ignores_that_a_terminal_is_closed_goes_on() -> None:
    done = running(
        "@click.command()\n"
        "def command():\n"
        "    signal.raise_signal(signal.SIGHUP)\n"
        "    print('goes on')\n",
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # as nohup does
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "goes on\n", "")
