"""Takes over what is at home in a lost region, as :mod:`media_platform.contract.takeover` says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from botocore.exceptions import ClientError

from media_platform.contract import table, takeover
from media_platform.contract.object_keys import RunKeys
from media_platform.contract.outputs import StoreOutput
from media_platform.contract.times import timestamp
from media_platform.contract.video import IN_FLIGHT_STATUSES, Video, VideoStatus
from mediactl.environment import Environment
from mediactl.errors import NOT_FOUND, REFUSED, USAGE, CommandError

_ATTEMPTS = 5


@dataclass
class Report:
    """What became of the videos of a lost region.

    Attributes:
        taken: Videos that are at home in the other region now.
        left: Why a video was left to the lost region, by video.
    """

    taken: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


class RegionStore:
    """The store of a region, as far as a takeover needs it.

    Args:
        environment: The stage.
        region: The region.

    Raises:
        CommandError: If the stage is not deployed there.
    """

    def __init__(self, environment: Environment, region: str) -> None:
        self._environment = environment
        self.region = region
        self.table_name = environment.output(StoreOutput.TABLE_NAME, region)
        self._raw_bucket = environment.output(StoreOutput.RAW_BUCKET, region)
        self._media_bucket = environment.output(StoreOutput.MEDIA_BUCKET, region)
        self._dynamodb = environment.client("dynamodb", region)
        self._s3 = environment.client("s3", region)

    def begin(self, lost: str) -> None:
        """Write down that this region takes another over; it may be repeated.

        Raises:
            CommandError: If it may not.
        """
        if lost == self.region:
            raise CommandError(
                f"{lost} cannot take itself over",
                hint="name another region with --by",
                exit_code=USAGE,
            )
        standing = {one.lost: one.by for one in self._takeovers()}
        if self.region in standing:
            by = standing[self.region]
            raise CommandError(
                f"{self.region} was taken over itself, by {by}",
                hint=f"let it in again first: `mediactl region readmit {self.region} --by {by}"
                f" -e {self._environment.name}`",
                exit_code=REFUSED,
            )
        begun = takeover.Takeover(lost=lost, by=self.region, begun_at=timestamp())
        try:
            self._dynamodb.put_item(**takeover.begin(self.table_name, begun))
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            raise CommandError(
                f"{lost} was taken over by {standing.get(lost, 'another region')}",
                hint="use that region, or let the lost one in again first",
                exit_code=REFUSED,
            ) from None

    def end(self, lost: str) -> None:
        """Let a region in again: it publishes its events itself from then on.

        Raises:
            CommandError: If it was not taken over.
        """
        if not self.is_taken_over(lost):
            raise CommandError(
                f"{lost} was not taken over, so there is nothing to end", exit_code=NOT_FOUND
            )
        key = table.takeover_key(lost).to_wire()
        self._dynamodb.delete_item(TableName=self.table_name, Key=key)

    def readmit(self, region: str) -> None:
        """Let a region in that was taken over before it left; else do nothing."""
        if region in {one.lost for one in self._takeovers()}:
            self.end(region)

    def take_over(self, lost: str) -> Report:
        """Take over every video that can go on here; it may be repeated."""
        report = Report()
        for video_id in self.videos(home=lost):
            reason = self._take(video_id, lost)
            if reason is None:
                report.taken.append(video_id)
            else:
                report.left[video_id] = reason
        return report

    def is_taken_over(self, region: str) -> bool:
        """Tell whether a takeover of a region stands."""
        return region in {one.lost for one in self._takeovers()}

    def videos(self, *, home: str | None = None) -> Iterator[str]:
        """Yield videos that the table has; no index lists them.

        Args:
            home: The region in which they are at home. Default: any.
        """
        of_home = " AND #home = :region" if home is not None else ""
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self.table_name,
            FilterExpression=f"#sk = :video{of_home}",
            ExpressionAttributeNames={
                "#sk": table.SORT_KEY,
                **({"#home": "home_region"} if home is not None else {}),
            },
            ExpressionAttributeValues={
                ":video": {"S": table.video_key("").sk},
                **({":region": {"S": home}} if home is not None else {}),
            },
            ConsistentRead=True,
        )
        for page in pages:
            for item in page["Items"]:
                yield str(item["video_id"]["S"])

    def _takeovers(self) -> list[takeover.Takeover]:
        answer = self._dynamodb.query(**takeover.list_takeovers(self.table_name))
        return [takeover.Takeover.from_item(item) for item in answer["Items"]]

    def _take(self, video_id: str, lost: str) -> str | None:
        """Take a video over; return why not, if it is left to its region."""
        for _ in range(_ATTEMPTS):
            item = self._dynamodb.get_item(
                TableName=self.table_name,
                Key=table.video_key(video_id).to_wire(),
                ConsistentRead=True,
            ).get("Item")
            video = Video.from_item(item) if item else None
            if video is None or video.home_region != lost:
                return "it was purged or taken over meanwhile"
            reason = self._obstacle(video)
            if reason is not None:
                return reason
            change = takeover.take_over(self.table_name, video, region=self.region)
            try:
                self._dynamodb.transact_write_items(TransactItems=change.writes)
            except self._dynamodb.exceptions.TransactionCanceledException:
                continue
            return None
        return f"it changed {_ATTEMPTS} times meanwhile; take the region over once more"

    def _obstacle(self, video: Video) -> str | None:
        """Return why a video cannot go on here."""
        if not takeover.may_be_taken(video):
            return "its file is still to come, to the bucket of its region"
        works = video.status in IN_FLIGHT_STATUSES or video.next_run is not None
        if works and not self._has(self._raw_bucket, video.raw_key, video.raw_version_id):
            return "its file was not copied yet"
        if video.status is VideoStatus.READY and video.current_run is not None:
            keys = RunKeys(video.media_region, video.tenant, video.video_id, video.current_run)
            if not self._has(self._media_bucket, keys.master_playlist):
                return "its media were not copied yet"
        return None

    def _has(self, bucket: str, key: str, version: str | None = None) -> bool:
        named = {"VersionId": version} if version is not None else {}
        try:
            self._s3.head_object(Bucket=bucket, Key=key, **named)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in {400, 404}:
                raise
            return False
        return True
