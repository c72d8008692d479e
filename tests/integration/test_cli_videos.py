"""``mediactl videos`` on the plane of the session, with real films."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3
from command_line import Mediactl
from conftest import RunningPlane
from waiting import eventually

from media_platform.contract.ids import new_id
from media_platform.contract.outputs import StoreOutput
from mediactl.access import sessions
from mediactl.environment import load_environment
from mediactl.errors import INTERRUPTED, NOT_FOUND, REFUSED, USAGE
from mediactl.videos.downloads import partial_file

PARTS = 14
LARGE = PARTS * 8 * 1024**2 - 1000
"""Bytes of a file that goes in as many parts."""


@pytest.fixture(scope="module")
def tenant() -> str:
    """A tenant of this module's own, so that its lists have what it made and no more."""
    return f"tenant-{new_id()}"


@pytest.fixture(scope="module")
def run(mediactl: Mediactl, tenant: str) -> Mediactl:
    """The command line of somebody of that tenant."""
    return Mediactl(mediactl.home, {**mediactl.environment, "MEDIACTL_TENANT": tenant})


@pytest.fixture(scope="module")
def film_file(film: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "harbour walk.mp4"
    path.write_bytes(film)
    return path


@pytest.fixture(scope="module")
def ready(run: Mediactl, film_file: Path) -> str:
    """A video that is READY."""
    said = ("--title", "Harbour", "--tag", "Sea")
    done = run("videos", "upload", str(film_file), *said, "--wait", "--json")
    (one,) = done.json
    assert (one["status"], one["error"], one["duplicate"]) == ("READY", None, False)
    return str(one["video_id"])


@pytest.fixture
def draft(run: Mediactl, tmp_path: Path) -> str:
    """A video whose file never arrived."""
    with run.settings():
        client = sessions.client(load_environment("local"))
        video, _ = client.create(
            {
                "title": "A draft",
                "file_name": "draft.mp4",
                "content_type": "video/mp4",
                "size_bytes": 1000,
            }
        )
    return str(video["video_id"])


def statuses(run: Mediactl, *options: str) -> dict[str, str]:
    listed = run("videos", "list", "--json", *options).json["videos"]
    return {video["video_id"]: video["status"] for video in listed}


# --- upload --------------------------------------------------------------------------------------


def test_ids_are_on_stdout_and_all_else_is_not(run: Mediactl, film_file: Path, ready: str) -> None:
    again = run("videos", "upload", str(film_file))
    assert (again.exit_code, again.stdout) == (0, f"{ready}\n")
    assert "has this file already; nothing is sent" in again.stderr


def test_a_dry_run_creates_nothing(run: Mediactl, film_file: Path, tmp_path: Path) -> None:
    before = statuses(run, "--mine")
    large = tmp_path / "large.mov"
    large.touch()
    os.truncate(large, LARGE)
    told = run("videos", "upload", "--dry-run", str(film_file), str(large))
    assert told.stdout.splitlines()[0].endswith("one PUT")
    assert told.stdout.splitlines()[1].endswith("14 parts of 8.4 MB")
    assert statuses(run, "--mine") == before


def test_files_that_are_refused_are_all_named_and_none_is_sent(
    run: Mediactl, film_file: Path, tmp_path: Path
) -> None:
    before = statuses(run, "--mine")
    text, empty = tmp_path / "notes.txt", tmp_path / "empty.mp4"
    text.write_text("notes")
    empty.touch()
    refused = run("videos", "upload", str(film_file), str(text), str(empty))
    assert refused.exit_code == USAGE
    assert "notes.txt ends in '.txt'" in refused.stderr
    assert "empty.mp4 is empty" in refused.stderr
    assert statuses(run, "--mine") == before
    assert run("videos", "upload", str(tmp_path / "none.mp4")).exit_code == USAGE
    assert run("videos", "upload", str(film_file), str(text), "--title", "A").exit_code == USAGE


def test_what_the_api_refuses_is_told_with_its_limit(
    run: Mediactl, tmp_path: Path, film_file: Path
) -> None:
    huge = tmp_path / "huge.mp4"
    huge.touch()
    os.truncate(huge, 6_000_000_000)
    refused = run("videos", "upload", str(huge), "--json")
    assert refused.exit_code == USAGE
    assert "more than the 5368709120 that one upload may have" in refused.stderr
    (told,) = json.loads(refused.stdout)
    assert (told["video_id"], "5368709120" in told["error"]) == (None, True)


def test_a_file_that_is_no_video_fails_with_a_remedy(run: Mediactl, tmp_path: Path) -> None:
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(os.urandom(5000))
    failed = run("videos", "upload", str(noise), "--wait", "--json")
    (told,) = json.loads(failed.stdout)
    assert (failed.exit_code, told["status"]) == (1, "FAILED")
    assert "(not_a_video)" in failed.stderr
    assert "hint: the file is no video: upload another" in failed.stderr


@contextmanager
def uploading(run: Mediactl, file: Path) -> Iterator[subprocess.Popen[str]]:
    """Upload a file as a process of its own, a part at a time."""
    command = run.program("videos", "upload", str(file), "--parallel", "1", "--json")
    with subprocess.Popen(
        command,
        env={**os.environ, **run.variables()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=run.home,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_an_upload_goes_on_after_ctrl_c_and_after_being_killed(
    run: Mediactl, plane: RunningPlane, outputs: dict[str, str], tenant: str, tmp_path: Path
) -> None:
    file = tmp_path / "long.mp4"
    file.write_bytes(os.urandom(1024**2) * (LARGE // 1024**2) + bytes(LARGE % 1024**2))
    s3, begun = plane.client("s3"), time.time()
    uploads = {"Bucket": outputs[StoreOutput.RAW_BUCKET], "Prefix": f"raw/{tenant}/"}

    def arrived() -> int:
        """Count the parts that are there, of an upload that is not complete."""
        for upload in s3.list_multipart_uploads(**uploads).get("Uploads", ()):
            named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
            return len(s3.list_parts(Bucket=uploads["Bucket"], **named).get("Parts", ()))
        return 0

    with uploading(run, file) as process:
        eventually(lambda: arrived() >= 2, "two parts arrive")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "stopped at" in told
    assert "run the same command again to go on" in told
    assert "Traceback" not in told
    first = arrived()
    with uploading(run, file) as process:
        eventually(lambda: arrived() > first + 1, "two more parts arrive")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    assert first + 1 < arrived() < PARTS
    with uploading(run, file) as process:
        out, told = process.communicate(timeout=120)
    (done,) = json.loads(out)
    assert (process.returncode, done["resumed"]) == (0, True)
    assert f"going on with the upload of video {done['video_id']}" in told
    sent = sum(
        call.action == "s3:PutObject" and done["video_id"] in call.resource
        for call in plane.calls(since=begun)
    )
    # Each time the part that was under way is sent once more; completing counts as a PUT, too.
    assert PARTS < sent <= PARTS + 3
    eventually(lambda: statuses(run, "--mine")[done["video_id"]] != "PENDING", "it is taken in")
    assert not list((run.home / "state" / "mediactl" / "uploads").glob("*.json"))


def test_an_upload_that_finds_no_platform_says_so(run: Mediactl, film_file: Path) -> None:
    answer = run("videos", "upload", str(film_file), "-e", "local-other")
    assert (answer.exit_code, "not up" in answer.stderr) == (NOT_FOUND, True)


# --- look ----------------------------------------------------------------------------------------


def test_lists_are_filtered_and_say_whether_there_is_more(
    run: Mediactl, ready: str, draft: str
) -> None:
    assert draft != ready
    found = run("videos", "list", "--tag", "sea", "--json").json
    assert [one["video_id"] for one in found["videos"]] == [ready]
    assert (found["more"], found["videos"][0]["title"]) == (False, "Harbour")
    assert set(statuses(run, "--status", "ready").values()) == {"READY"}
    one = run("videos", "list", "--mine", "--limit", "1", "--json").json
    assert (len(one["videos"]), one["more"]) == (1, True)
    everything = run("videos", "list", "--mine", "--all", "--json").json
    assert (everything["more"], len(everything["videos"]) > 1) == (False, True)
    exactly = str(len(everything["videos"]))
    assert run("videos", "list", "--mine", "--limit", exactly, "--json").json["more"] is False
    shown = run("videos", "list", "--mine", "--limit", "1")
    assert "--all shows more" in shown.stderr
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
    assert run("videos", "list", "--owner", "someone").exit_code == USAGE
    assert run("videos", "list", "--admin", "--mine").exit_code == USAGE
    assert run("videos", "list", "--tag", "sea", "--status", "READY").exit_code == USAGE


def test_operators_list_the_videos_of_any_tenant(
    mediactl: Mediactl, run: Mediactl, ready: str, tenant: str
) -> None:
    assert ready in statuses(mediactl, "--admin", "--tenant", tenant)
    assert ready not in statuses(mediactl)


def test_a_video_is_shown_with_what_happened_to_it(run: Mediactl, ready: str) -> None:
    found = run("videos", "show", ready, "--audit", "--json").json
    assert (found["status"], found["table_read"], found["home_region"]) == (
        *("READY", True),
        "us-east-1",
    )
    happened = [moment["what"] for moment in found["timeline"]]
    order = [happened.index(what) for what in ("created", "uploaded", "playable", "ready")]
    assert order == sorted(order)
    assert "video.created" in happened
    (done,) = found["runs"]
    assert (done["status"], done["role"], done["chunks_done"]) == (
        *("COMPLETE", "current"),
        done["chunks"],
    )
    assert {part["state"] for part in done["parts"]} == {"done"}
    assert [one["height"] for one in found["renditions"]] == [360]
    shown = run("videos", "show", ready, "--parts")
    assert "Harbour" in shown.stdout
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())


def test_a_video_is_shown_although_the_api_tells_nothing(run: Mediactl, ready: str) -> None:
    shown = run("videos", "show", ready, "--json", MEDIACTL_TOKEN="garbage")
    assert shown.json["status"] == "READY"
    assert "this is what the table keeps, since that is no access token" in shown.stderr


@pytest.mark.parametrize("command", ["show", "play", "download", "transcode", "cancel", "restore"])
def test_a_video_that_nobody_knows_is_told_by_the_exit_code(run: Mediactl, command: str) -> None:
    answer = run("videos", command, new_id())
    assert (answer.exit_code, answer.stdout) == (NOT_FOUND, "")
    assert "no video" in answer.stderr


# --- play and load down --------------------------------------------------------------------------


def test_the_url_that_is_printed_plays(run: Mediactl, ready: str) -> None:
    url = run("videos", "play", ready).stdout.strip()
    playlist = urllib3.request("GET", url, retries=False)
    assert (playlist.status, playlist.data[:7]) == (200, b"#EXTM3U")
    grant = run("videos", "play", ready, "--json").json
    assert grant["cookies"].keys() >= {"CloudFront-Policy", "CloudFront-Signature"}


def test_a_player_gets_the_url_and_no_cookie(run: Mediactl, ready: str, tmp_path: Path) -> None:
    player = tmp_path / "ffplay"
    player.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/words\n')
    player.chmod(0o755)
    assert run("videos", "play", ready, "--open", PATH=str(tmp_path)).exit_code == 0
    (word,) = (tmp_path / "words").read_text().splitlines()
    assert word.startswith("http")
    none = run("videos", "play", ready, "--open", PATH=str(tmp_path / "nothing"))
    assert (none.exit_code, "no player" in none.stderr) == (NOT_FOUND, True)


def test_a_rendition_is_loaded_down_and_gone_on_with(
    run: Mediactl, ready: str, tmp_path: Path
) -> None:
    done = run("videos", "download", ready, "-o", str(tmp_path), "--json").json
    path = tmp_path / "harbour walk-360p.mp4"
    assert (done["path"], done["height"], done["resumed_from"]) == (str(path), 360, 0)
    content = path.read_bytes()
    assert content[4:8] == b"ftyp"
    again = run("videos", "download", ready, "-o", str(tmp_path))
    assert (again.exit_code, "--force" in again.stderr) == (REFUSED, True)

    current = run("videos", "play", ready, "--json").json["run_id"]
    partial_file(path, f"{current} 360").write_bytes(content[:1000])
    forced = run("videos", "download", ready, "-o", str(tmp_path), "--force", "--json").json
    assert (forced["resumed_from"], path.read_bytes()) == (1000, content)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert run("videos", "download", ready, "--height", "123").exit_code == USAGE
    assert run("videos", "download", ready, "--height", "360", "--original").exit_code == USAGE


def test_an_operator_loads_the_original_down(
    run: Mediactl, ready: str, film: bytes, tmp_path: Path
) -> None:
    target = tmp_path / "mine.mp4"
    assert run("videos", "download", ready, "--original", "-o", str(target)).exit_code == 0
    assert target.read_bytes() == film


# --- change --------------------------------------------------------------------------------------


def test_a_video_is_transcoded_again(run: Mediactl, ready: str) -> None:
    done = run("videos", "transcode", ready, "--profile", "360p", "--wait", "--json").json
    assert (done["status"], done["profile"], done["next_progress"]) == ("READY", "360p", None)
    refused = run("videos", "cancel", ready)
    assert (refused.exit_code, "not being transcoded" in refused.stderr) == (REFUSED, True)


def test_an_upload_is_given_up(run: Mediactl, draft: str) -> None:
    ended = run("videos", "cancel", draft, "--json").json
    assert (ended["status"], ended["failure"]["code"]) == ("FAILED", "upload_aborted")
    assert ended["failure"]["remedy"] == "upload the file again"


def test_what_is_deleted_is_shown_and_restored(run: Mediactl, draft: str) -> None:
    assert run("videos", "delete", draft, "--dry-run").exit_code == 0
    assert statuses(run, "--mine")[draft] == "PENDING"
    assert run("videos", "delete", draft, "--json").json[0]["for_good"] is False
    assert draft not in statuses(run, "--mine")
    assert statuses(run, "--mine", "--status", "DELETED")[draft] == "DELETED"
    shown = run("videos", "show", draft, "--json").json
    assert (shown["status"], shown["restorable_until"] is not None) == ("DELETED", True)
    assert run("videos", "restore", draft, "--json").json["status"] == "PENDING"
    assert statuses(run, "--mine")[draft] == "PENDING"
    told = run("videos", "delete", draft).stderr
    assert re.search(rf"; mediactl videos restore {draft} -e local\S* brings it back\n", told)


def test_nothing_is_deleted_for_good_without_consent(run: Mediactl, draft: str) -> None:
    refused = run("videos", "delete", draft, "--forever")
    assert (refused.exit_code, "--yes" in refused.stderr) == (REFUSED, True)
    assert statuses(run, "--mine")[draft] == "PENDING"
    (done,) = run("videos", "delete", draft, "--forever", "--yes", "--json").json
    assert done["for_good"]
    assert done["purge_from"] <= done["expected_by"]
    gone = run("videos", "restore", draft)
    assert gone.exit_code in {NOT_FOUND, REFUSED}
