"""Keys that sign playback: which there are, who signs and accepts what, and their rotation.

What is true stands in AWS alone: parameters of the Edge stack say which keys there are, the history
of the delivery documents says which one signed when. So a rotation that was interrupted anywhere is
continued from what AWS shows.

Source: docs/decisions/keys-rotate-by-parameters.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from media_platform.contract.delivery import (
    FOLLOWED_SECONDS,
    NO_KEY,
    SLOTS,
    DeliveryDocument,
    delivery_parameter_name,
    signing_secret_name,
)
from media_platform.contract.outputs import (
    EdgeOutput,
    StackPart,
    stack_name,
)
from mediactl.asking import MissingRegion, ask_regions
from mediactl.deploying.stack_updates import StackUpdates
from mediactl.environment import Environment
from mediactl.errors import NOT_FOUND, CommandError, NotDeployedError
from mediactl.keys.numbers import Numbers
from mediactl.keys.signers import last_complaint, longest_grant

TRUSTED_SECONDS = 300
"""How long CloudFront is given to take a change of a key group to all edge locations, beyond what
it tells: it tells of distributions, not of key groups, whether they are deployed."""

POLL_SECONDS = 10
LOCAL_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Slot:
    """A slot of the key group.

    Attributes:
        slot: Its name.
        key_pair_id: Id of the public key at CloudFront; ``None`` for an empty slot.
        made_at: When the key was made (RFC 3339).
        age_days: Its age in whole days.
        signs: Whether it signs, by the parameters of the stack.
        trusted: Whether the key group of the distribution has it.
        last_grant_ends_at: When the last grant of a key that signs no more ends; ``None`` for one
            that signs or never did.
    """

    slot: str
    key_pair_id: str | None = None
    made_at: str | None = None
    age_days: int | None = None
    signs: bool = False
    trusted: bool = False
    last_grant_ends_at: str | None = None


@dataclass(frozen=True)
class RegionKeys:
    """What the API of a region signs with.

    Attributes:
        region: The region.
        signs_with: Id of the public key.
        accepts: Ids of all keys whose signatures it takes.
        since: When that was last written (RFC 3339).
    """

    region: str
    signs_with: str
    accepts: list[str]
    since: str


@dataclass(frozen=True)
class KeyList:
    """The keys of a stage.

    Attributes:
        state: Where a rotation stands; ``SETTLED`` if there is none.
        slots: The slots.
        regions: What the API of each region signs with.
        distribution: State of the distribution, ``Deployed`` once all edge locations have it.
        longest_grant_seconds: How long a grant holds at most.
        problems: What is not as it should be.
        missing_regions: Regions of which is not known what they sign with, or did.
    """

    state: str
    slots: list[Slot]
    regions: list[RegionKeys]
    distribution: str
    longest_grant_seconds: int
    problems: list[str] = field(default_factory=list)
    missing_regions: list[MissingRegion] = field(default_factory=list)


@dataclass(frozen=True)
class Rotation:
    """How far a rotation is.

    Attributes:
        state: Where it stands.
        signs_with: Id of the key that signs.
        other: Id of the other key that the distribution trusts; ``None`` if there is none.
        done: What this command did.
        next: What comes next; empty at the end.
        next_at: When it can be done (RFC 3339), where that is known.
    """

    state: str
    signs_with: str
    other: str | None = None
    done: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)
    next_at: str | None = None


@dataclass(frozen=True)
class _Signed:
    """When a key signed, by the history of a delivery document."""

    key_pair_id: str
    began_at: datetime


class SigningKeys:
    """The keys of a stage, as AWS shows them.

    Args:
        environment: The stage.
        clock: Returns the time. Default: that of the machine.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._environment = environment
        self._regions: Sequence[str] = environment.regions
        self._clock = clock
        # Its region is the one of CloudFront itself, and need not be the home region.
        self._cloudfront = environment.client("cloudfront", environment.edge_region)
        self._stack = StackUpdates(
            environment.client("cloudformation", environment.edge_region),
            stack_name(environment.stage, StackPart.EDGE),
            poll_seconds=self.poll_seconds,
        )

    @property
    def poll_seconds(self) -> float:
        """Time between two looks."""
        return LOCAL_POLL_SECONDS if self._environment.is_local else POLL_SECONDS

    def now(self) -> datetime:
        """Return the time."""
        return self._clock()

    def numbers(self) -> Numbers:
        """Return the parameters of the Edge stack."""
        return Numbers.from_parameters(self._stack.parameters())

    def change(self, before: Numbers, after: Numbers) -> None:
        """Change the parameters of the stack, if they are still as they were looked at."""
        self._stack.change(before.to_parameters(), after.to_parameters())

    def overview(self) -> KeyList:
        """Return the keys and who uses them."""
        numbers = self.numbers()
        asked = ask_regions(self._environment, self._environment.regions, self._region)
        # A rotation needs all regions; who only looks gets what the others tell.
        self._regions = tuple(asked.by_region)
        ids = self.ids()
        trusted = self.trusted()
        slots = [self._slot(slot, numbers, ids, trusted) for slot in SLOTS]
        regions = list(asked.by_region.values())
        active = ids.get(numbers.active)
        problems = [
            f"{one.region} signs with {one.signs_with}, not with {active}"
            for one in regions
            if one.signs_with != active
        ]
        problems += [
            f"{one.region} signs with {one.signs_with}, which the distribution does not trust"
            for one in regions
            if one.signs_with not in trusted
        ]
        return KeyList(
            state=numbers.state,
            slots=slots,
            regions=regions,
            distribution=str(self._distribution()["Status"]),
            longest_grant_seconds=self.longest_grant_seconds,
            problems=problems,
            missing_regions=asked.missing,
        )

    def ids(self) -> dict[str, str]:
        """Return the ids of the public keys by slot, as the API of each region is told them."""
        found: dict[str, str] = {}
        secrets = {signing_secret_name(self._environment.stage, slot): slot for slot in SLOTS}
        for region in self._regions:
            document, _ = self._document(region)
            pairs = {document.key_pair_id: document.signing_secret, **document.other_secrets}
            for key_pair_id, secret in pairs.items():
                if secret in secrets:
                    found.setdefault(secrets[secret], key_pair_id)
        return found

    def trusted(self) -> frozenset[str]:
        """Return the ids of the keys in the key groups of the distribution."""
        return frozenset(
            key for group in self._groups() for key in group["KeyGroupConfig"]["Items"]
        )

    def untrusted_because(self, slot: str) -> str | None:
        """Return why a key may not sign yet, ``None`` if it may."""
        distribution = self._distribution()
        if distribution["Status"] != "Deployed":
            return f"distribution {distribution['Id']} is being deployed to all edge locations"
        key_pair_id = self.ids().get(slot)
        if key_pair_id is None or key_pair_id not in self.trusted():
            return "the distribution does not have the key yet"
        if self._environment.is_local:
            # The edge of the plane reads what is deployed when it is told to.
            self._environment.plane().refresh()
        else:
            changed_at = max(group["LastModifiedTime"] for group in self._groups())
            ends_at = changed_at + timedelta(seconds=TRUSTED_SECONDS)
            if self.now() < ends_at:
                return f"edge locations are given until {clock_time(ends_at)} to have the key"
        return self._missing_copy(slot)

    def last_grant_ends_at(self, key_pair_id: str) -> datetime | None:
        """Return when the last grant that a key signed ends; ``None`` if it never signed.

        A key that signs in some region has no end yet: it is that of a grant of this moment.
        """
        return self._ends_at(key_pair_id, self.longest_grant_seconds)

    def last_signed_at(self, key_pair_id: str) -> datetime | None:
        """Return until when some task may have signed with a key; ``None`` if none ever did."""
        return self._ends_at(key_pair_id, 0)

    @cached_property
    def longest_grant_seconds(self) -> int:
        """How long a grant holds at most, by what the tasks of all regions are started with."""
        return max(longest_grant(self._environment, region) for region in self._regions)

    def _ends_at(self, key_pair_id: str, lifetime: int) -> datetime | None:
        ends = [
            signed_until + timedelta(seconds=FOLLOWED_SECONDS + lifetime)
            for region in self._regions
            for signed_until in self._signed_until(region, key_pair_id)
        ]
        return max(ends) if ends else None

    def _signed_until(self, region: str, key_pair_id: str) -> Iterator[datetime]:
        """Yield until when a region signed with a key, and when it last said that it did not know.

        A task that cannot read its document signs with the key that it knows, and complains.
        """
        versions = self._history(region)
        signed = [one.key_pair_id == key_pair_id for one in versions]
        if not any(signed):
            return
        if signed[-1]:
            yield self.now()
            return
        last = len(signed) - 1 - signed[::-1].index(True)
        until = versions[last + 1].began_at
        yield until
        complained_at = last_complaint(self._environment, region, since=until)
        if complained_at is not None:
            yield complained_at

    def _history(self, region: str) -> list[_Signed]:
        versions: list[_Signed] = []
        more: dict[str, str] = {}
        ssm = self._environment.client("ssm", region)
        name = delivery_parameter_name(self._environment.stage)
        while True:
            page = ssm.get_parameter_history(Name=name, **more)
            for one in page["Parameters"]:
                try:
                    document = DeliveryDocument.from_json(one["Value"])
                except ValueError:
                    continue
                versions.append(_Signed(document.key_pair_id, one["LastModifiedDate"]))
            if not page.get("NextToken"):
                return versions
            more = {"NextToken": page["NextToken"]}

    def _document(self, region: str) -> tuple[DeliveryDocument, datetime]:
        """Return the delivery document of a region, and when it was written."""
        name = delivery_parameter_name(self._environment.stage)
        ssm = self._environment.client("ssm", region)
        try:
            parameter = ssm.get_parameter(Name=name)["Parameter"]
        except ssm.exceptions.ParameterNotFound:
            raise NotDeployedError(
                f"{region} has no delivery document {name}",
                hint="deploy the Edge stack: mediactl deploy",
                exit_code=NOT_FOUND,
            ) from None
        return DeliveryDocument.from_json(parameter["Value"]), parameter["LastModifiedDate"]

    def _region(self, region: str) -> RegionKeys:
        document, written_at = self._document(region)
        return RegionKeys(
            region=region,
            signs_with=document.key_pair_id,
            accepts=sorted({document.key_pair_id, *document.other_secrets}),
            since=as_text(written_at),
        )

    def _slot(
        self, slot: str, numbers: Numbers, ids: Mapping[str, str], trusted: frozenset[str]
    ) -> Slot:
        key_pair_id = ids.get(slot)
        if numbers.keys[slot] == NO_KEY or key_pair_id is None:
            return Slot(slot)
        made_at = self._made_at(key_pair_id)
        signs = slot == numbers.active
        ends_at = None if signs else self.last_grant_ends_at(key_pair_id)
        return Slot(
            slot=slot,
            key_pair_id=key_pair_id,
            made_at=as_text(made_at),
            age_days=self._age_days(made_at),
            signs=signs,
            trusted=key_pair_id in trusted,
            last_grant_ends_at=as_text(ends_at) if ends_at else None,
        )

    def age_days(self) -> int:
        """Return the age of the key that signs, in whole days."""
        return self._age_days(self._made_at(self.ids()[self.numbers().active]))

    def _age_days(self, made_at: datetime) -> int:
        return int((self.now() - made_at).days)

    def _made_at(self, key_pair_id: str) -> datetime:
        key = self._cloudfront.get_public_key(Id=key_pair_id)["PublicKey"]
        made_at: datetime = key["CreatedTime"]
        return made_at

    def _distribution(self) -> dict[str, Any]:
        name = self._environment.output(EdgeOutput.DISTRIBUTION_ID)
        found: dict[str, Any] = self._cloudfront.get_distribution(Id=name)["Distribution"]
        return found

    def _groups(self) -> list[dict[str, Any]]:
        config = self._distribution()["DistributionConfig"]
        behaviors = [
            config["DefaultCacheBehavior"],
            *config.get("CacheBehaviors", {}).get("Items", []),
        ]
        names = {
            group
            for behavior in behaviors
            for group in behavior.get("TrustedKeyGroups", {}).get("Items", [])
        }
        return [self._cloudfront.get_key_group(Id=name)["KeyGroup"] for name in sorted(names)]

    def _missing_copy(self, slot: str) -> str | None:
        """Return which region lacks the private half of a key."""
        secrets = self._environment.client("secretsmanager", self._environment.edge_region)
        name = signing_secret_name(self._environment.stage, slot)
        for copy in secrets.describe_secret(SecretId=name).get("ReplicationStatus", []):
            if copy["Status"] == "Failed":
                raise CommandError(
                    f"secret {name} is not copied to {copy['Region']}: "
                    f"{copy.get('StatusMessage', 'no reason is told')}",
                    hint="see the key of the secret there, then run the same command again",
                )
            if copy["Status"] != "InSync":
                return f"secret {name} is being copied to {copy['Region']}"
        return None


def clock_time(moment: datetime) -> str:
    """Return a time as people read it."""
    return moment.astimezone(UTC).strftime("%H:%M:%S UTC")


def as_text(moment: datetime) -> str:
    """Return a time as programs read it (RFC 3339)."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
