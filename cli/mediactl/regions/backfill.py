"""Copies to a region what is older than it, by S3 Batch Replication.

Rules of replication copy what is written while they stand. Files and media of before are copied by
one job of S3 Batch Operations for each bucket that has such a rule; S3 finds by itself what is
missing. A job goes on by itself, so whoever is interrupted calls again and finds it.

Source: Amazon S3 User Guide, "Replicating existing objects with Batch Replication" and "Configuring
an IAM role for S3 Batch Replication".
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from media_platform.contract.outputs import StackPart, StoreOutput
from mediactl.environment import Environment
from mediactl.errors import NOT_FOUND, USAGE, CommandError

POLL_SECONDS = 0.5
_LONGEST_POLL_SECONDS = 15.0
_ROLE_SECONDS = 60
"""Longest wait until S3 knows a role that was just made."""

_OVER = frozenset({"Complete", "Failed", "Cancelled"})
_BUCKETS = (StoreOutput.RAW_BUCKET, StoreOutput.MEDIA_BUCKET, StoreOutput.SITE_BUCKET)


@dataclass(frozen=True)
class BucketCopies:
    """Copies of what a bucket held before.

    Attributes:
        bucket: The bucket.
        source: Its region.
        job_id: Job of S3 Batch Operations, ``None`` if none was made.
        status: Status of the job, as S3 has it.
        objects: Objects that are copied, as far as S3 has counted them.
        copied: Those whose copies are there.
        failed: Those that could not be copied.
    """

    bucket: str
    source: str
    job_id: str | None = None
    status: str = "NotStarted"
    objects: int = 0
    copied: int = 0
    failed: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens."""
        return self.status in _OVER


@dataclass(frozen=True)
class Copies:
    """What is copied to a region.

    Attributes:
        environment: The environment.
        region: The region.
        buckets: Copies of every bucket from which rules copy there.
    """

    environment: str
    region: str
    buckets: list[BucketCopies] = field(default_factory=list)

    @property
    def are_whole(self) -> bool:
        """Whether everything is there."""
        return all(one.status == "Complete" and not one.failed for one in self.buckets)


class Backfill:
    """Copies of what is older than a region.

    Args:
        environment: The environment.
        region: The region that gets them.
    """

    def __init__(self, environment: Environment, region: str) -> None:
        self._environment = environment
        self._region = region
        stage = environment.stage
        self._role_name = f"media-platform-{stage}-replicate-to-{region}"
        self._description = f"media-platform {stage}: what is older than {region}"

    def sources(self) -> list[tuple[str, str, set[str]]]:
        """Return buckets from which rules copy, their regions, and where to they copy.

        Raises:
            CommandError: If no rule copies to the region, or it is no region of the environment.
        """
        environment = self._environment
        if self._region not in environment.regions:
            raise CommandError(
                f"{environment.name} has no region {self._region!r}, but "
                f"{', '.join(environment.regions)}",
                hint="name one of them",
                exit_code=USAGE,
            )
        found = []
        for source in environment.regions:
            if source != self._region:
                outputs = environment.outputs(StackPart.STORE, source)
                there = environment.outputs(StackPart.STORE, self._region)
                for name in _BUCKETS:
                    if name in outputs and name in there:
                        destinations = self._destinations(outputs[name], source)
                        if there[name] in destinations:
                            found.append((outputs[name], source, destinations))
        if not found:
            raise CommandError(
                f"no bucket of {environment.name} is copied to {self._region}",
                hint=f"run `mediactl region add {self._region} -e {environment.name}` first",
                exit_code=NOT_FOUND,
            )
        return found

    def run(self, heard: Callable[[Copies], None], *, wait: bool = True) -> Copies:
        """Copy what is missing; jobs that run already are gone on with.

        Args:
            heard: Called whenever more is known.
            wait: Whether to wait until all copies are there.

        Raises:
            CommandError: As :meth:`sources`.
        """
        sources = self.sources()
        role = self._role([bucket for bucket, _, _ in sources])
        jobs = [self._job(*source, role=role) for source in sources]
        seconds = POLL_SECONDS
        while True:
            copies = Copies(self._environment.name, self._region, [self._look(job) for job in jobs])
            heard(copies)
            if all(one.is_over for one in copies.buckets):
                self._forget_role()
                return copies
            if not wait:
                return copies
            time.sleep(seconds)
            seconds = min(seconds * 1.5, _LONGEST_POLL_SECONDS)

    @property
    def _account(self) -> str:
        account: str = self._environment.client("sts").get_caller_identity()["Account"]
        return account

    def _destinations(self, bucket: str, region: str) -> set[str]:
        """Return the buckets to which rules of a bucket copy."""
        s3 = self._environment.client("s3", region)
        try:
            rules = s3.get_bucket_replication(Bucket=bucket)["ReplicationConfiguration"]["Rules"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ReplicationConfigurationNotFoundError":
                return set()
            raise
        return {
            rule["Destination"]["Bucket"].rpartition(":")[2]
            for rule in rules
            if rule["Status"] == "Enabled"
        }

    def _job(self, bucket: str, source: str, destinations: set[str], *, role: str) -> BucketCopies:
        """Return the job of a bucket: the one that runs, else a new one."""
        description = f"{self._description}, of {bucket}"
        for listed in self._listed(source):
            if listed.get("Description") == description and listed["Status"] not in _OVER:
                return BucketCopies(bucket, source, listed["JobId"])
        # What has copies in one region has the status of that; in another it may have none.
        statuses = ["NONE", "FAILED", *(["COMPLETED"] if len(destinations) > 1 else [])]
        request = {
            "AccountId": self._account,
            "ClientRequestToken": str(uuid.uuid4()),
            "ConfirmationRequired": False,
            "Description": description,
            "Operation": {"S3ReplicateObject": {}},
            "ManifestGenerator": {
                "S3JobManifestGenerator": {
                    "SourceBucket": f"arn:aws:s3:::{bucket}",
                    "Filter": {
                        "EligibleForReplication": True,
                        "ObjectReplicationStatuses": statuses,
                    },
                    "EnableManifestOutput": False,
                }
            },
            "Report": {"Enabled": False},
            "Priority": 1,
            "RoleArn": role,
        }
        return BucketCopies(bucket, source, self._create(source, request))

    def _listed(self, source: str) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            page = self._control(source).list_jobs(AccountId=self._account, **token)
            yield from page["Jobs"]
            if "NextToken" not in page:
                return
            token = {"NextToken": page["NextToken"]}

    def _create(self, source: str, request: dict[str, Any]) -> str:
        deadline = time.monotonic() + _ROLE_SECONDS
        while True:
            try:
                return str(self._control(source).create_job(**request)["JobId"])
            except ClientError as error:
                told = error.response["Error"]
                known = "role" not in told.get("Message", "").lower()
                if known or time.monotonic() > deadline:
                    raise
                # IAM tells of a new role everywhere, in its time.
                time.sleep(2)

    def _look(self, copies: BucketCopies) -> BucketCopies:
        job = self._control(copies.source).describe_job(
            AccountId=self._account, JobId=copies.job_id
        )["Job"]
        progress = job.get("ProgressSummary", {})
        return BucketCopies(
            copies.bucket,
            copies.source,
            copies.job_id,
            job["Status"],
            progress.get("TotalNumberOfTasks", 0),
            progress.get("NumberOfTasksSucceeded", 0),
            progress.get("NumberOfTasksFailed", 0),
        )

    def _control(self, region: str) -> Any:
        return self._environment.client("s3control", region)

    def _role(self, buckets: list[str]) -> str:
        """Return the role of the jobs, which may replicate objects of these buckets and no more."""
        iam = self._environment.client("iam")
        trust = {
            "Effect": "Allow",
            "Principal": {"Service": "batchoperations.s3.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": self._account}},
        }
        arns = [f"arn:aws:s3:::{bucket}" for bucket in buckets]
        grants = [
            {
                "Effect": "Allow",
                "Action": "s3:InitiateReplication",
                "Resource": [f"{arn}/*" for arn in arns],
            },
            {
                "Effect": "Allow",
                "Action": ["s3:GetReplicationConfiguration", "s3:PutInventoryConfiguration"],
                "Resource": arns,
            },
        ]
        try:
            role = iam.create_role(
                RoleName=self._role_name,
                Description="Copies to other regions what is older than they are",
                AssumeRolePolicyDocument=_policy([trust]),
            )["Role"]
        except iam.exceptions.EntityAlreadyExistsException:
            role = iam.get_role(RoleName=self._role_name)["Role"]
        iam.put_role_policy(
            RoleName=self._role_name, PolicyName=_POLICY_NAME, PolicyDocument=_policy(grants)
        )
        return str(role["Arn"])

    def _forget_role(self) -> None:
        """Remove the role; the next jobs get one again. Another command may have been faster."""
        iam = self._environment.client("iam")
        with suppress(iam.exceptions.NoSuchEntityException):
            iam.delete_role_policy(RoleName=self._role_name, PolicyName=_POLICY_NAME)
            iam.delete_role(RoleName=self._role_name)


_POLICY_NAME = "replicate"


def _policy(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
