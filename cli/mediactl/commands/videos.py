"""``mediactl videos``: upload, look at, play and change the videos of an environment."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from media_platform.contract import media_types
from media_platform.contract.jobs import Profile, Quality
from media_platform.contract.video import Duplicates, VideoStatus, Visibility
from mediactl import output
from mediactl.access import sessions
from mediactl.errors import NOT_FOUND, USAGE, CommandError
from mediactl.options import (
    HELP,
    Amount,
    Consent,
    Group,
    consent_option,
    dry_run_option,
    environment_option,
    json_option,
    tenant_option,
    video_id,
    video_ids,
)
from mediactl.videos import timelines
from mediactl.videos.timelines import Kept, VideoList, VideoReport, VideoSummary

if TYPE_CHECKING:
    from mediactl.environment import Environment
    from mediactl.videos.upload_batch import UploadedFile

PAGE = 100
"""Most videos that the API lists at a time."""

PARALLEL = 8
PARALLEL_MAX = 64
PLAYERS = ("mpv", "vlc", "ffplay")
"""Players that take a URL of HLS, the best first."""


@dataclass(frozen=True)
class PlaybackGrant:
    """How to play a video; whoever has it may, until it ends.

    Attributes:
        video_id: The video.
        run_id: The run that is played.
        status: Where the video stands.
        signed_playlist_url: HLS multivariant playlist for players without cookies.
        playlist_url: The same for browsers; needs the cookies.
        cookies: The cookies.
        poster_url: Poster image, signed.
        expires_at: Time at which all of it ends.
    """

    video_id: str
    run_id: str
    status: str
    signed_playlist_url: str
    playlist_url: str
    cookies: dict[str, str]
    poster_url: str
    expires_at: str


@dataclass(frozen=True)
class DownloadedFile:
    """A file that was loaded down.

    Attributes:
        video_id: The video.
        path: The file.
        size_bytes: Its size.
        height: Lines of the rendition, or ``None`` for the file that was uploaded.
        resumed_from: Bytes of it that were there before.
    """

    video_id: str
    path: str
    size_bytes: int
    height: int | None
    resumed_from: int


@dataclass(frozen=True)
class DeletedVideo:
    """A video that was deleted.

    Attributes:
        video_id: The video.
        for_good: Whether nobody can restore it.
        purge_from: Time from which its files are deleted, if it was deleted for good.
        expected_by: Time by which every region had a turn to delete them.
    """

    video_id: str
    for_good: bool
    purge_from: str | None = None
    expected_by: str | None = None


def _choices(kind: Any) -> click.Choice[str]:
    return click.Choice([one.value for one in kind], case_sensitive=False)


wait_option = click.option("--wait", is_flag=True, help="Wait until it is READY or has failed.")
timeout_option = click.option(
    "--timeout",
    type=Amount(min=0),
    metavar="SECONDS",
    help="Longest wait for workers. Default: as long as it takes.",
)


@click.group(name="videos", cls=Group, context_settings=HELP)
def group() -> None:
    """Upload, look at, play and change videos."""


# --- upload --------------------------------------------------------------------------------------


@group.command()
@environment_option
@tenant_option
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
)
@click.option("--title", help="Title of the one file. Default: its name without the ending.")
@click.option("--description", default="", help="Description.")
@click.option("--tag", "tags", multiple=True, help="A tag; may be repeated.")
@click.option("--visibility", type=_choices(Visibility), help="Who may play it. Default: TENANT.")
@click.option(
    "--content-type",
    type=click.Choice(sorted(media_types.EXTENSIONS)),
    metavar="TYPE",
    help="Content type, e.g. video/mp4. Default: that of the ending of the name.",
)
@click.option(
    "--duplicates",
    type=_choices(Duplicates),
    help="What becomes of a file that the tenant has already. Default: it is refused.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, PARALLEL_MAX),
    default=PARALLEL,
    show_default=True,
    help="Parts of a file that are sent at a time.",
)
@wait_option
@timeout_option
@dry_run_option
@json_option("mediactl.videos.upload_batch:UploadedFiles")
def upload(
    *,
    environment: Environment,
    tenant: str | None,
    files: tuple[Path, ...],
    title: str | None,
    description: str,
    tags: tuple[str, ...],
    visibility: str | None,
    content_type: str | None,
    duplicates: str | None,
    parallel: int,
    wait: bool,
    timeout: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Upload files, straight to S3, and print the ids of their videos.

    Files above 100 MB go in parts, several at a time, and each again if it fails. An upload that
    was interrupted goes on when the same command is run again: what arrived is not sent twice. A
    file that has changed since is noticed.

    With --wait, the exit code tells whether all are READY.

    \b
    Examples:
      mediactl videos upload FILE
      mediactl videos upload FILE --title Harbour --tag sea --wait --json
    """
    if title is not None and len(files) > 1:
        raise CommandError(
            f"--title is for one file, and there are {len(files)}",
            hint="leave it out, so that titles are the names of the files",
            exit_code=USAGE,
        )
    from mediactl.videos import upload_batch  # noqa: PLC0415 - slow to import

    given = {"visibility": visibility, "duplicates": duplicates}
    said: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    said |= {"description": description, "tags": list(tags)}
    bodies = upload_batch.bodies_of(files, said, title=title, content_type=content_type)
    if dry_run:
        plans = [
            upload_batch.UploadedFile(str(path), one["size_bytes"]) for path, one in bodies.items()
        ]
        output.show(plans, as_json, _tell_plans)
        return
    batch = upload_batch.UploadBatch(sessions.client(environment, tenant=tenant), parallel=parallel)
    for path, body in bodies.items():
        batch.send(path, body)
    if wait:
        batch.wait(_deadline(timeout))
    output.show(batch.done, as_json, _tell_ids)
    batch.check()


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _tell_plans(plans: list[UploadedFile]) -> None:
    from mediactl.progress import size  # noqa: PLC0415 - not needed for help

    for one in plans:
        click.echo(f"{one.path}  {size(one.size_bytes)}  {one.plan}")


def _tell_ids(done: list[UploadedFile]) -> None:
    for one in done:
        if one.video_id is not None:
            click.echo(one.video_id)


# --- look ----------------------------------------------------------------------------------------


@group.command("list")
@environment_option
@tenant_option
@click.option("--status", type=_choices(VideoStatus), help="Only those that stand there.")
@click.option("--tag", help="Only those with this tag.")
@click.option("--mine", is_flag=True, help="Only your own, with the PRIVATE ones.")
@click.option("--private", is_flag=True, help="Only your own PRIVATE ones; with --mine and --tag.")
@click.option(
    "--admin",
    is_flag=True,
    help="As an administrator: PRIVATE ones, too; as an operator, of the tenant of --tenant.",
)
@click.option("--owner", metavar="USER_ID", help="Only those of this user; with --admin.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Most to list."
)
@click.option("--all", "everything", is_flag=True, help="List all, however many there are.")
@json_option(VideoList)
def list_videos(
    *,
    environment: Environment,
    tenant: str | None,
    status: str | None,
    tag: str | None,
    mine: bool,
    private: bool,
    admin: bool,
    owner: str | None,
    limit: int,
    everything: bool,
    as_json: bool,
) -> None:
    """List videos, newest first.

    Shown is what the tenant shares, unless an option says otherwise. Deleted ones, which can be
    restored, are listed with `--mine --status DELETED`, or `--admin --status DELETED`.

    \b
    Examples:
      mediactl videos list
      mediactl videos list --status ready --limit 10 --json
      mediactl videos list --admin --all
    """
    if owner is not None and not admin:
        raise CommandError(
            "--owner is for administrators", hint="add --admin, or use --mine", exit_code=USAGE
        )
    query: dict[str, Any] = {"status": status}
    if admin:
        if mine or private or tag:
            raise CommandError(
                "--admin goes with --status and --owner only",
                hint="leave out --mine, --private and --tag",
                exit_code=USAGE,
            )
        path = "/api/admin/videos"
        client = sessions.client(environment, operator=tenant is not None)
        query |= {"owner": owner, "tenant": tenant}
    else:
        path = "/api/videos"
        client = sessions.client(environment, tenant=tenant)
        query |= {
            "tag": tag,
            "owner": "me" if mine else None,
            "visibility": Visibility.PRIVATE.value if private else None,
        }
    most = None if everything else limit
    # One more than is shown tells whether there are more.
    query["limit"] = PAGE if most is None else min(PAGE, most + 1)
    wanted = None if most is None else most + 1
    found = list(itertools.islice(client.listed(path, "videos", query), wanted))
    videos = [VideoSummary.of(one) for one in found[:most]]
    output.show(VideoList(videos, more=len(found) > len(videos)), as_json, _show_list)


def _show_list(found: VideoList) -> None:
    from mediactl.videos import tables as video_tables  # noqa: PLC0415 - slow to import

    if not found.videos:
        output.say("there are none")
        return
    output.console().print(video_tables.listed(found.videos))
    if found.more:
        output.say(f"these are the newest {len(found.videos)}; --limit N or --all shows more")


@group.command()
@environment_option
@tenant_option
@click.argument("video", callback=video_id)
@click.option("--audit", is_flag=True, help="Also who did what, for administrators.")
@click.option("--parts", is_flag=True, help="Also every part of every run.")
@json_option(VideoReport)
def show(
    *,
    environment: Environment,
    tenant: str | None,
    video: str,
    audit: bool,
    parts: bool,
    as_json: bool,
) -> None:
    """Show where a video stands and how it came there.

    What the API tells of it is shown with what the table keeps: its events, runs and their parts.
    With AWS credentials that may read the table, videos are found that the API does not tell you
    of, deleted ones among them, and all of them while the API does not answer.

    \b
    Examples:
      mediactl videos show VIDEO
      mediactl videos show VIDEO --audit --json
    """
    kept = _read_kept(environment, video)
    report = timelines.report(_body(environment, tenant, video, kept), kept)
    if audit:
        report = timelines.with_audit(report, sessions.client(environment, tenant=tenant))
    if kept is None:
        output.say("the table could not be read: runs and events are not shown")
    output.show(report, as_json, lambda one: _show_report(one, parts=parts))


def _read_kept(environment: Environment, video: str) -> Kept | None:
    """Return what the table keeps of a video, ``None`` also if it may not be read."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to import

    try:
        return timelines.read_kept(environment, video)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"AccessDenied", "AccessDeniedException"}:
            raise
        return None


def _body(
    environment: Environment, tenant: str | None, video: str, kept: Kept | None
) -> dict[str, Any]:
    """Return a video as the API tells of it, or as the table has it if the API does not."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - slow to import

    from mediactl.client import ApiError  # noqa: PLC0415 - slow to import
    from mediactl.failures import explain  # noqa: PLC0415

    try:
        body = sessions.client(environment, tenant=tenant).video(video)
    except (ApiError, CommandError, HTTPError) as error:
        if kept is None:
            raise
        output.say(f"this is what the table keeps, since {explain(error)}")
        return timelines.body_of(kept)
    return {**(timelines.body_of(kept) if kept else {}), **body}


def _show_report(report: VideoReport, *, parts: bool) -> None:
    from mediactl.videos import tables as video_tables  # noqa: PLC0415 - slow to import

    console = output.console()
    for table in video_tables.report(report, parts=parts):
        console.print(table)


# --- play and load down --------------------------------------------------------------------------


@group.command()
@environment_option
@tenant_option
@click.argument("video", callback=video_id)
@click.option("--open", "opens", is_flag=True, help=f"Play it with {', '.join(PLAYERS)}.")
@json_option(PlaybackGrant)
def play(
    environment: Environment, tenant: str | None, video: str, opens: bool, as_json: bool
) -> None:
    """Print the URL of a playlist that any HLS player plays.

    Whoever has the URL may play the video until the signature ends, in a few hours.

    \b
    Examples:
      mediactl videos play VIDEO
      mediactl videos play VIDEO --json
    """
    player = _player() if opens else None
    answer = sessions.client(environment, tenant=tenant).playback(video)
    grant = PlaybackGrant(**{name: answer[name] for name in PlaybackGrant.__dataclass_fields__})
    output.show(grant, as_json, lambda one: click.echo(one.signed_playlist_url))
    if player is not None:
        played = subprocess.run([player, grant.signed_playlist_url], check=False)
        if played.returncode:
            raise CommandError(f"{Path(player).name} ended with status {played.returncode}")


def _player() -> str:
    for name in PLAYERS:
        found = shutil.which(name)
        if found:
            return found
    raise CommandError(
        f"there is no player on this machine: none of {', '.join(PLAYERS)}",
        hint="install one, or play the URL that `mediactl videos play` prints",
        exit_code=NOT_FOUND,
    )


@group.command()
@environment_option
@tenant_option
@click.argument("video", callback=video_id)
@click.option(
    "--height", type=click.IntRange(min=1), help="Lines of the rendition. Default: the highest."
)
@click.option(
    "--original",
    is_flag=True,
    help="The file as it was uploaded, with the AWS credentials of an operator.",
)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="File or folder. Default: this folder, under the name of the file that was uploaded.",
)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@timeout_option
@json_option(DownloadedFile)
def download(
    *,
    environment: Environment,
    tenant: str | None,
    video: str,
    height: int | None,
    original: bool,
    target: Path | None,
    force: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Load a rendition down as one MP4 file, or the file that was uploaded.

    A rendition is made first, if nobody asked for it yet. A download that was interrupted goes on
    where it stopped; the file is there under its name once it is complete.

    \b
    Examples:
      mediactl videos download VIDEO --output FOLDER
      mediactl videos download VIDEO --original --output FOLDER --json
    """
    if original and height is not None:
        raise CommandError(
            "--height and --original exclude each other", hint="choose one", exit_code=USAGE
        )
    from mediactl.videos import files as video_files  # noqa: PLC0415 - slow to import

    client = sessions.client(environment, tenant=tenant)
    chosen = (
        video_files.Original(environment, client, video)
        if original
        else video_files.Rendition(client, video, height, _deadline(timeout))
    )
    path = video_files.target_of(target, chosen.file_name)
    from mediactl.progress import transferring  # noqa: PLC0415
    from mediactl.videos.downloads import check_free, load  # noqa: PLC0415 - slow to import

    if not force:
        check_free(path)
    chosen.prepare()

    @contextlib.contextmanager
    def shown(size: int, before: int) -> Iterator[Callable[[int], None]]:
        if before:
            output.say(f"{path}: going on, {100 * before // size} % are there")
        with transferring(path.name, size) as advance:
            advance(before)
            yield advance

    try:
        size, before = load(chosen.url, path, chosen.identity, shown, replaces=force)
    except KeyboardInterrupt as end:
        end.add_note("run the same command again to go on")
        raise
    done = DownloadedFile(video, str(path), size, chosen.height, before)
    output.show(done, as_json, lambda one: click.echo(one.path))


# --- change --------------------------------------------------------------------------------------


@group.command()
@environment_option
@tenant_option
@click.argument("video", callback=video_id)
@click.option("--profile", type=_choices(Profile), help="Rungs. Default: as asked for last.")
@click.option("--quality", type=_choices(Quality), help="Default: as asked for last.")
@wait_option
@timeout_option
@json_option(VideoSummary)
def transcode(
    *,
    environment: Environment,
    tenant: str | None,
    video: str,
    profile: str | None,
    quality: str | None,
    wait: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Transcode a video again, from the file that was uploaded.

    Viewers keep what they have until the new run is complete. A video that failed for a reason that
    may be over begins anew. With --wait, the exit code tells whether the new run is what is played.

    \b
    Examples:
      mediactl videos transcode VIDEO --profile 360p --wait
    """
    client = sessions.client(environment, tenant=tenant)
    asked = {name: one for name, one in (("profile", profile), ("quality", quality)) if one}
    from mediactl.videos import outcomes  # noqa: PLC0415 - slow to import

    before = outcomes.played_run(client, video) if wait else None
    body = client.call("POST", f"/api/videos/{video}/transcode", asked)
    error = None
    if wait:
        body = outcomes.wait_until_done(client, video, body["title"], _deadline(timeout))
        error = outcomes.failure_of(body) or outcomes.unreplaced(client, video, before)
    _show_changed(body, as_json, "is transcoded again" if not wait else "was transcoded again")
    if error is not None:
        raise error


@group.command()
@environment_option
@tenant_option
@click.argument("video", callback=video_id)
@json_option(VideoSummary)
def cancel(environment: Environment, tenant: str | None, video: str, as_json: bool) -> None:
    """End the transcoding of a video, or its upload if it still waits for its file.

    A READY video that is transcoded again stays as it is; any other becomes FAILED.

    \b
    Examples:
      mediactl videos cancel VIDEO
    """
    client = sessions.client(environment, tenant=tenant)
    if client.video(video)["status"] == VideoStatus.PENDING:
        body, what = client.abort_upload(video), "upload"
    else:
        body, what = client.call("POST", f"/api/videos/{video}/transcode/cancel"), "transcoding"
    _show_changed(body, as_json, f"{what} was ended")


@group.command()
@environment_option
@tenant_option
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...", callback=video_ids)
@click.option(
    "--forever",
    is_flag=True,
    help="So that nobody can restore it, whoever owns it; for administrators.",
)
@consent_option
@dry_run_option
@json_option(list[DeletedVideo])
def delete(
    *,
    environment: Environment,
    tenant: str | None,
    videos: tuple[str, ...],
    forever: bool,
    consent: Consent,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete videos; they can be restored for as long as the stage says, 30 days by default.

    With --forever they and their files are purged in every region within the hour, which needs
    consent. What was signed for viewers before lives until it ends.

    \b
    Examples:
      mediactl videos delete VIDEO
      mediactl videos delete VIDEO --forever --yes
    """
    if forever and not dry_run:
        many = f"{len(videos)} videos" if len(videos) > 1 else f"video {videos[0]}"
        consent.require(environment, f"delete {many} for good")
    client = sessions.client(environment, tenant=tenant)
    done = []
    for video in videos:
        path = f"/api/{'admin/' if forever else ''}videos/{video}"
        if dry_run:
            client.call("GET", path)
            done.append(DeletedVideo(video, forever))
            continue
        answer = client.call("DELETE", path)
        done.append(
            DeletedVideo(video, forever, answer.get("purge_from"), answer.get("expected_by"))
        )
        if not as_json:
            _tell_deleted(done[-1], environment)
    output.show(done, as_json, _tell_dry_run if dry_run else lambda _: None)


def _tell_deleted(done: DeletedVideo, environment: Environment) -> None:
    if done.for_good:
        output.say(f"video {done.video_id} is deleted for good; its files go by {done.expected_by}")
    else:
        undo = f"mediactl videos restore {done.video_id} -e {environment.name}"
        output.say(f"video {done.video_id} is deleted; {undo} brings it back")


def _tell_dry_run(found: list[DeletedVideo]) -> None:
    for one in found:
        output.say(f"would delete video {one.video_id}{' for good' if one.for_good else ''}")


@group.command()
@environment_option
@tenant_option
@click.argument("video", callback=video_id)
@json_option(VideoSummary)
def restore(environment: Environment, tenant: str | None, video: str, as_json: bool) -> None:
    """Restore a deleted video: it becomes what it was.

    One whose transcoding was not complete is transcoded anew.

    \b
    Examples:
      mediactl videos restore VIDEO
    """
    client = sessions.client(environment, tenant=tenant)
    body = client.call("POST", f"/api/videos/{video}/restore")
    _show_changed(body, as_json, f"is {body['status']}")


def _show_changed(body: dict[str, Any], as_json: bool, what: str) -> None:
    output.show(
        VideoSummary.of(body),
        as_json,
        lambda one: output.say(f"video {one.video_id}: {what}"),
    )
