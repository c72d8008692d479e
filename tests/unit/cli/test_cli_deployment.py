"""In which deployments regions join, and what stands in the way of one."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from media_platform.contract.outputs import StackPart, StoreOutput, stack_name
from mediactl.deploying.assembly import AssemblyStack
from mediactl.deploying.cdk import app_problem, cli_problem
from mediactl.deploying.destruction import young_replica
from mediactl.deploying.difference import places
from mediactl.deploying.phases import phases
from mediactl.deploying.progress import DeployProgress
from mediactl.deploying.settled import check_settled
from mediactl.deploying.stage import CdkStage
from mediactl.deploying.versions import remember_working, way_back
from mediactl.environment import AwsEnvironment, LocalEnvironment
from mediactl.errors import REFUSED, USAGE, CommandError

HOME, SECOND, THIRD = REGIONS = ("us-east-1", "eu-west-1", "eu-central-1")
STORE = stack_name("prod", StackPart.STORE)


class Deployed(AwsEnvironment):
    """A stage of which AWS says what a test says.

    Args:
        stores: Status of the store of each region that has one.
        replicas: Regions in which the table is.
        ages: Hours since a replica was made, by region. Default: two days.
        regions: Regions that the configuration has.
    """

    def __init__(
        self,
        stores: dict[str, str],
        replicas: tuple[str, ...] = (),
        ages: dict[str, float] | None = None,
        *,
        regions: tuple[str, ...] = REGIONS,
    ) -> None:
        super().__init__("prod", stage="prod", regions=regions, app=Path.cwd())
        self.stores = stores
        self.replicas = replicas
        self.ages = ages or {}

    def stack(self, name: str, region: str) -> dict[str, Any] | None:
        if name != STORE or region not in self.stores:
            return None
        return {
            "StackName": name,
            "StackStatus": self.stores[region],
            "Outputs": [{"OutputKey": StoreOutput.TABLE_NAME.value, "OutputValue": "videos"}],
        }

    def _make_client(self, service: str, region: str) -> Any:
        del service
        return RegionClient(self, region)


class RegionClient:
    """What AWS answers in a region."""

    def __init__(self, stage: Deployed, region: str) -> None:
        self.stage = stage
        self.region = region

    def get_template(self, **_: Any) -> dict[str, Any]:
        return {"TemplateBody": {"Resources": {}}}

    def describe_table(self, **_: Any) -> dict[str, Any]:
        if self.region not in self.stage.replicas:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "DescribeTable")
        age = timedelta(hours=self.stage.ages.get(self.region, 48))
        replicas = [{"RegionName": one} for one in self.stage.replicas if one != self.region]
        return {"Table": {"Replicas": replicas, "CreationDateTime": datetime.now(UTC) - age}}


DONE = "UPDATE_COMPLETE"


@pytest.mark.parametrize(
    ("stores", "replicas", "expected"),
    [
        ((), (), [(SECOND, THIRD), (THIRD,), ()]),
        ((HOME,), (HOME,), [(SECOND, THIRD), (THIRD,), ()]),
        ((HOME, SECOND), (HOME, SECOND), [(THIRD,), ()]),
        ((HOME, THIRD), (HOME, THIRD), [(SECOND,), ()]),
        (REGIONS, (HOME,), [(THIRD,), ()]),
        (REGIONS, (HOME, SECOND), [()]),
        ((HOME, THIRD), (HOME,), [(SECOND,), ()]),
        (REGIONS, REGIONS, []),
    ],
)
def test_regions_get_their_store_first_and_become_members_one_by_one(
    stores: tuple[str, ...], replicas: tuple[str, ...], expected: list[tuple[str, ...]]
) -> None:
    assert phases(Deployed(dict.fromkeys(stores, DONE), replicas)) == expected


def test_a_store_that_was_never_made_is_made_first() -> None:
    """S3 refuses to copy to its bucket, although a stack has its name."""
    deployed = Deployed({HOME: DONE, SECOND: "ROLLBACK_COMPLETE", THIRD: DONE}, (HOME, THIRD))
    assert phases(deployed) == [(SECOND,), ()]


def test_a_region_that_only_cdk_json_has_joins_and_another_first_region_is_refused() -> None:
    """``regions`` of mediactl.toml say where commands look, and cdk.json what is deployed."""
    stages = {"prod": {"regions": [{"name": one} for one in REGIONS]}}
    Path("cdk.json").write_text(json.dumps({"context": {"stages": stages}}))
    deployed = Deployed({HOME: DONE, SECOND: DONE}, (HOME, SECOND), regions=(HOME, SECOND))
    assert phases(deployed) == [(THIRD,), ()]
    assert (stack_name("prod", StackPart.MEDIA), THIRD) in places(deployed)
    CdkStage(deployed, lambda _: None)
    with pytest.raises(CommandError, match=f"cdk.json is {HOME}") as caught:
        CdkStage(Deployed({}, regions=(SECOND, HOME)), lambda _: None)
    assert caught.value.exit_code == USAGE


@pytest.mark.parametrize(
    ("ages", "youngest"),
    [
        ({}, None),
        # The home region is as old as it is: what was copied from it counts.
        ({HOME: 1}, None),
        ({SECOND: 23}, (SECOND, 1)),
        ({SECOND: 3, THIRD: 2}, (THIRD, 22)),
    ],
)
def test_the_youngest_replica_tells_how_long_the_home_region_has_to_stay(
    ages: dict[str, float], youngest: tuple[str, float] | None
) -> None:
    found = young_replica(Deployed(dict.fromkeys(REGIONS, DONE), REGIONS, ages))
    if youngest is None:
        assert found is None
        return
    assert found is not None
    region, until = found
    hours = (until - datetime.now(UTC)) / timedelta(hours=1)
    assert (region, round(hours, 1)) == youngest


def test_a_stage_whose_table_is_gone_can_be_destroyed_further() -> None:
    assert young_replica(Deployed({HOME: "DELETE_FAILED", SECOND: DONE})) is None


def store(region: str) -> AssemblyStack:
    return AssemblyStack(f"Store{region}", f"Store-{region}", STORE, region, Path("a"))


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("UPDATE_IN_PROGRESS", "is being changed"),
        ("DELETE_IN_PROGRESS", "is being changed"),
        (
            "UPDATE_ROLLBACK_FAILED",
            "continue-update-rollback --stack-name MediaPlatform-prod-Store",
        ),
        (
            "ROLLBACK_FAILED",
            "delete-stack --stack-name MediaPlatform-prod-Store --region eu-west-1",
        ),
        ("DELETE_FAILED", "mediactl destroy"),
    ],
)
def test_a_stack_that_is_busy_or_stuck_is_left_alone(status: str, told: str) -> None:
    with pytest.raises(CommandError, match=status) as caught:
        check_settled(Deployed({SECOND: status}), [store(HOME), store(SECOND)])
    assert caught.value.exit_code == REFUSED
    assert told in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"])
def test_a_stack_that_is_settled_may_be_deployed(status: str) -> None:
    check_settled(Deployed({HOME: status}), [store(HOME), store(SECOND)])


def test_progress_is_read_from_what_the_cdk_cli_prints() -> None:
    told: list[str] = []
    progress = DeployProgress([store(HOME), store(SECOND)], told.append)
    event = f"{STORE} | {{}} | 5:01:02 AM | {{}} | AWS::SQS::Queue | {{}}"
    for line in (
        "✨  Synthesis time: 0.12s",
        f"Store-{HOME} ({STORE}): deploying... [1/2]",
        f"Store-{SECOND} ({STORE}): deploying... [2/2]",
        event.format("1/4", "CREATE_COMPLETE     ", f"Store-{SECOND}/Jobs (Jobs) "),
        event.format("2/4", "CREATE_FAILED       ", f"Store-{HOME}/Jobs (Jobs) is refused"),
        event.format(
            "3/4", "CREATE_FAILED       ", f"Store-{HOME}/Dead (Dead) Resource creation cancelled"
        ),
        f" ✅  Store-{SECOND} ({STORE})",
        f" ❌  Store-{HOME} ({STORE}) failed: Error",
    ):
        progress.heard(line)
    assert told == [
        f"Store-{HOME}: deploying",
        f"Store-{SECOND}: deploying",
        f"Store-{SECOND}: 1 of 4 resources",
        f"Store-{HOME}: CREATE_FAILED: Store-{HOME}/Jobs (Jobs) is refused",
        f"Store-{HOME}: 3 of 4 resources",
        f"Store-{SECOND}: deployed (0 s)",
        f"Store-{HOME}: failed (0 s)",
    ]


EVENT = "Store | 2/3 | 5:01:02 AM | {} | AWS::S3::Bucket | Store/Raw (Raw) {}"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            (
                EVENT.format("CREATE_FAILED       ", "Resource creation cancelled"),
                EVENT.format("CREATE_FAILED       ", "raw exists"),
                EVENT.format("UPDATE_FAILED       ", "another"),
                "❌  Store failed: UPDATE_ROLLBACK_COMPLETE",
            ),
            "AWS::S3::Bucket Store/Raw (Raw) raw exists",
        ),
        (
            (
                "Store: start: Building Image",
                "Store: fail: docker build . exited with error code 1: #1 FROM",
                "#2 RUN pip install",
                "Is the docker daemon running?",
                "Media: success: Published Code",
                "Failed to publish asset Image",
                "‣ AggregateError:",
            ),
            "docker build . exited with error code 1: #1 FROM … Is the docker daemon running?",
        ),
        (
            (
                "✅  Store (no changes)",
                "Store: creating CloudFormation changeset...",
                "It is denied",
            ),
            "It is denied",
        ),
        (
            ("❌  Store failed to deploy", "‣ AccessDenied: it is denied"),
            "AccessDenied: it is denied",
        ),
        ((), "it says nothing"),
    ],
)
def test_what_the_cdk_cli_fails_by_is_told_in_a_line(lines: tuple[str, ...], problem: str) -> None:
    assert cli_problem(["Synthesis time: 0.1 s", *lines] if lines else []) == problem


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            (
                "Traceback (most recent call last):",
                '  File "app.py", line 1, in <module>',
                "    run()",
                "ValueError: domain is missing",
                "  add one",
                "python3 app.py: Subprocess exited with error 1",
            ),
            "ValueError: domain is missing add one",
        ),
        (
            ('  File "app.py", line 1', "    x = (", "        ^", "SyntaxError: never closed"),
            "SyntaxError: never closed",
        ),
        (("a warning", "stage 'dev': domain is missing"), "stage 'dev': domain is missing"),
        (
            ("ENOENT: no such file or directory, open 'a/manifest.json'",),
            "it writes no templates; does it call `app.synth()`?",
        ),
        ((), "it says nothing"),
    ],
)
def test_what_is_wrong_with_an_app_is_told_in_a_line(lines: tuple[str, ...], problem: str) -> None:
    assert app_problem(lines) == problem


def test_the_way_back_is_to_the_commit_that_worked_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a plane, of whose app nothing was written before."""
    app = tmp_path / "app"
    plane = LocalEnvironment("local", state_dir=tmp_path / "state", app=app)

    def commit(text: str) -> str:
        app.mkdir(exist_ok=True)
        (app / "app.py").write_text(text)
        git = ["git", "-C", str(app), "-c", "user.name=A", "-c", "user.email=a@b.example"]
        for words in (["init", "-q"], ["add", "app.py"], ["commit", "-qm", "a"]):
            subprocess.run([*git, *words], check=True)
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True)
        return head.stdout.decode().strip()

    first = commit("1")
    unknown = "to go back, check out the version before and run `mediactl deploy -e local`"
    assert way_back(plane) == unknown
    remember_working(plane)
    assert way_back(plane) == unknown
    commit("2")
    back = f"`git -C {app} checkout {first}` and `mediactl deploy -e local` go back"
    assert way_back(plane).startswith(back)
    monkeypatch.chdir(app)
    assert way_back(plane).startswith(f"`git checkout {first}` and")
    (app / "app.py").write_text("of no commit")
    remember_working(plane)
    assert way_back(plane) == unknown
