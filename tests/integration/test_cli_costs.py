"""``mediactl costs`` on the plane of the session, with what runs took as workers write it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from command_line import Mediactl
from conftest import RunningPlane

from media_platform.contract import table
from media_platform.contract.budget import HELD_BACK
from media_platform.contract.ids import new_id
from media_platform.contract.run import RunStatus
from media_platform.contract.spend import Spend
from media_platform.contract.tenant import note_tenant
from media_platform.contract.times import timestamp
from media_platform.contract.video import Video, VideoStatus
from mediactl.pricing.book import price_table
from tests.sample_videos import sample_video

DAY, NEXT_DAY, LATER = "2030-03-01", "2030-03-02", "2030-03-01T12:00:00.000Z"


@pytest.fixture
def tenant(plane: RunningPlane, outputs: dict[str, str]) -> str:
    name = f"spender-{new_id()[-12:]}"
    plane.client("dynamodb").update_item(
        **note_tenant(outputs["TableName"], name, seen_at="2026-11-26T00:00:00.000Z")
    )
    return name


@pytest.fixture
def video(plane: RunningPlane, outputs: dict[str, str], tenant: str) -> Video:
    """A video with three runs: one failed, one COMPLETE on the day after, and one that goes on."""
    ready = sample_video(
        tenant=tenant, status=VideoStatus.READY, current_run=new_id(), ready_at=LATER
    )
    failed = Spend(
        tenant=tenant,
        video_id=ready.video_id,
        run_id=new_id(),
        region=plane.region,
        day=DAY,
        status=RunStatus.FAILED,
        cpu_seconds=1800,
        bytes_in=2 * 10**9,
    )
    complete = replace(
        failed,
        run_id=str(ready.current_run),
        day=NEXT_DAY,
        status=RunStatus.COMPLETE,
        cpu_seconds=3600,
        bytes_out=10**9,
        video_seconds=600.0,
    )
    other = replace(
        complete, video_id=new_id(), run_id=new_id(), status=RunStatus.RUNNING, cpu_seconds=900
    )
    put(plane, outputs, ready, failed, complete, other)
    return ready


def put(plane: RunningPlane, outputs: dict[str, str], *items: Video | Spend) -> None:
    for item in items:
        plane.client("dynamodb").put_item(TableName=outputs["TableName"], Item=item.to_item())


def usd_of(hours: float, *, spot: float) -> float:
    """Return what hours of a processor with 2 GB cost, by hand."""
    on_demand = 0.03238 + 2 * 0.00356
    share = price_table().price("fargate-spot-share", "us-east-1").usd
    return hours * on_demand * (1 - spot + spot * share)


def test_a_video_costs_what_all_of_its_runs_took(
    mediactl: Mediactl, tenant: str, video: Video
) -> None:
    found = mediactl(
        "costs", "list", "--by", "video", "--tenant", tenant, "--since", DAY, "--json"
    ).json
    (price,) = found["prices"]
    assert price["deployed"]
    assert (price["gb_per_cpu"], price["spot_share"]) == (2, 0.8)
    ours, other = found["rows"]
    assert ours["by"] == video.video_id
    assert (ours["runs"], ours["running"], ours["video_minutes"]) == (2, 0, 10)
    assert (ours["gb_in"], ours["gb_out"]) == (4, 1)
    assert ours["usd"] == pytest.approx(usd_of(1.5, spot=0.8), rel=1e-3)
    assert ours["usd_per_minute"] == pytest.approx(ours["usd"] / 10, rel=1e-3)
    assert ours["storage_usd"] == pytest.approx(0.023)
    assert (other["running"], other["usd_per_minute"]) == (1, None)
    assert found["total"]["usd"] == pytest.approx(ours["usd"] + other["usd"], rel=1e-3)
    assert found["unknown_videos"] == 0


def test_days_and_tenants(
    mediactl: Mediactl, tenant: str, video: Video, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    old = replace(video, video_id=new_id(), current_run=new_id())
    put(plane, outputs, old)
    by_day = mediactl(
        "costs", "list", "--by", "day", "--tenant", tenant, "--since", DAY, "--json"
    ).json
    assert [(row["by"], row["cpu_hours"]) for row in by_day["rows"]] == [
        (DAY, 0.5),
        (NEXT_DAY, 1.25),
    ]
    assert by_day["unknown_videos"] == 1
    since = mediactl("costs", "list", "--since", NEXT_DAY, "--json").json
    (row,) = [row for row in since["rows"] if row["by"] == tenant]
    assert (row["runs"], row["tenant"]) == (2, tenant)


def test_people_are_told_what_is_not_known(
    mediactl: Mediactl, tenant: str, video: Video, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    put(plane, outputs, replace(video, video_id=new_id(), current_run=new_id()))
    answer = mediactl("costs", "list", "--tenant", tenant, "--since", DAY, COLUMNS="80")
    assert answer.exit_code == 0
    assert "with what is expected: 1\n" in answer.stdout
    assert "of which nothing is known: 1\n" in answer.stdout
    assert "80% on Spot, as deployed)" in answer.stdout
    assert max(map(len, answer.stdout.splitlines())) <= 80


def test_a_day_that_is_none_is_refused(mediactl: Mediactl) -> None:
    answer = mediactl("costs", "list", "--since", "yesterday")
    assert answer.exit_code == 2
    assert "'yesterday' is no day" in answer.stderr


def test_who_spent_the_budget_is_named_and_let_go_on(
    mediactl: Mediactl, tenant: str, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    today = timestamp()[:10]
    # In a status in which the sweep of the plane, which has no budget, leaves it alone.
    waiting = sample_video(
        tenant=tenant,
        home_region=plane.region,
        status=VideoStatus.PROCESSING,
        current_run=new_id(),
        held_back=HELD_BACK,
    )
    spend = Spend(
        tenant=tenant,
        video_id=new_id(),
        run_id=new_id(),
        region=plane.region,
        day=today,
        status=RunStatus.COMPLETE,
        cpu_seconds=7200,
    )
    put(plane, outputs, spend, waiting)

    def seen() -> dict[str, object]:
        found = mediactl("costs", "breaker", "--json").json
        assert (found["day"], found["limit_cpu_hours"]) == (today, None)
        (one,) = [one for one in found["tenants"] if one["tenant"] == tenant]
        return dict(one)

    assert (seen()["cpu_hours"], seen()["waiting"], seen()["lifted"]) == (2, 1, False)
    dry = mediactl("costs", "lift", tenant, "--dry-run", "--json").json
    assert (dry["changed"], seen()["lifted"]) == (False, False)
    lifted = mediactl("costs", "lift", tenant, "--json").json
    assert (lifted["changed"], lifted["until"][11:19]) == (True, "00:00:00")
    assert lifted["until"][:10] > today
    assert seen()["lifted"] is True
    assert tenant in mediactl("costs", "breaker").stdout
    plane.client("dynamodb").delete_item(
        TableName=outputs["TableName"], Key=table.video_key(waiting.video_id).to_wire()
    )


def test_a_tenant_that_nobody_knows_cannot_be_lifted(mediactl: Mediactl) -> None:
    answer = mediactl("costs", "lift", "nobody-at-all")
    assert answer.exit_code == 3
    assert "there is no tenant 'nobody-at-all'" in answer.stderr
