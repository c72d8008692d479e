"""What people may change about a video: as a whole (PUT) or in part (PATCH)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import asdict
from typing import Annotated, Any, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from media_api.tags import Tags
from media_platform.contract.video import PlaybackRules, Video, Visibility

TITLE_MAX_CHARACTERS = 200
DESCRIPTION_MAX_CHARACTERS = 5000
RULES_MAX_ENTRIES = 20
SIGNATURE_MAX_SECONDS = 7 * 24 * 3600

_HOST = re.compile(
    r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
)
_HOST_MAX_CHARACTERS = 253


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank; give the video a title")
    return text


def _host(text: str) -> str:
    host = text.lower()
    if len(host) > _HOST_MAX_CHARACTERS or not _HOST.fullmatch(host):
        raise ValueError(
            f"{text[:80]!r} is no host; send it as example.com, or as *.example.com for all below "
            "it, without scheme, port or path"
        )
    return host


def _ipv4_range(text: str) -> str:
    try:
        return str(ipaddress.IPv4Network(text))
    except ValueError:
        raise ValueError(
            f"{text[:40]!r} is no range of IPv4 addresses; send it as 192.0.2.0/24"
        ) from None


Title: TypeAlias = Annotated[
    str,
    Field(min_length=1, max_length=TITLE_MAX_CHARACTERS, examples=["Harbour at dawn"]),
    AfterValidator(_not_blank),
]
Description: TypeAlias = Annotated[
    str, Field(max_length=DESCRIPTION_MAX_CHARACTERS, examples=["Filmed from the pier."])
]
_Hosts: TypeAlias = Annotated[
    list[Annotated[str, AfterValidator(_host)]],
    Field(max_length=RULES_MAX_ENTRIES, examples=[["example.com", "*.example.org"]]),
]
_Ranges: TypeAlias = Annotated[
    list[Annotated[str, AfterValidator(_ipv4_range)]],
    Field(max_length=RULES_MAX_ENTRIES, examples=[["192.0.2.0/24"]]),
]
_Seconds: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=SIGNATURE_MAX_SECONDS)]


class RulesBody(BaseModel):
    """What a playback must satisfy, beside the visibility.

    Attributes:
        referrers: Hosts of the pages that may ask for it. Default: any.
        ipv4_ranges: Ranges of addresses that may play it. Default: any.
        max_seconds: Longest life of a signature in seconds. Default: what the stage says.
    """

    model_config = ConfigDict(extra="forbid")

    referrers: _Hosts = []
    ipv4_ranges: _Ranges = []
    max_seconds: _Seconds | None = None

    @classmethod
    def of(cls, rules: PlaybackRules | None) -> Self | None:
        """Return the rules of a video as clients see them."""
        if rules is None:
            return None
        return cls.model_construct(
            referrers=list(rules.referrers),
            ipv4_ranges=list(rules.ipv4_ranges),
            max_seconds=rules.max_seconds,
        )

    def to_rules(self) -> PlaybackRules | None:
        """Return the rules as a video has them; rules that demand nothing are none."""
        rules = PlaybackRules(
            referrers=tuple(self.referrers),
            ipv4_ranges=tuple(self.ipv4_ranges),
            max_seconds=self.max_seconds,
        )
        return None if rules == PlaybackRules() else rules


class VideoUpdate(BaseModel):
    """Everything that people may change about a video; every field must be there.

    Attributes:
        title: Title, shown to people.
        description: Description, shown to people; may be empty.
        tags: Its tags, in lower case; blanks around them and repeats are dropped.
        visibility: Who may see and play it.
        rules: What a playback must satisfy; ``null`` for nothing.
    """

    model_config = ConfigDict(extra="forbid")

    title: Title
    description: Description
    tags: Tags
    visibility: Visibility
    rules: RulesBody | None

    def changes(self, video: Video) -> dict[str, Any]:
        """Return the fields of the video that become different, with their new values."""
        return _differing(
            video,
            {
                "title": self.title,
                "description": self.description,
                "tags": tuple(self.tags),
                "visibility": self.visibility,
                "rules": self.rules.to_rules() if self.rules else None,
            },
        )


def _no_default(schema: dict[str, Any]) -> None:
    """Take the default out of a schema: a field that is absent from a patch stays as it is."""
    schema.pop("default", None)


_Optional: Any = Field(default=None, json_schema_extra=_no_default)


class RulesPatch(BaseModel):
    """A change of the rules; what is absent stays, and ``null`` takes a rule away.

    Attributes:
        referrers: Hosts of the pages that may ask for it.
        ipv4_ranges: Ranges of addresses that may play it.
        max_seconds: Longest life of a signature in seconds.
    """

    model_config = ConfigDict(extra="forbid")

    referrers: _Hosts | None = _Optional
    ipv4_ranges: _Ranges | None = _Optional
    max_seconds: _Seconds | None = _Optional

    def applied_to(self, rules: PlaybackRules | None) -> PlaybackRules | None:
        """Return the rules after the change."""
        before = RulesBody.of(rules) or RulesBody()
        given = {name: getattr(self, name) for name in self.model_fields_set}
        kept = {name: value for name, value in before if name not in given}
        return RulesBody.model_construct(
            **kept, **{name: value for name, value in given.items() if value is not None}
        ).to_rules()


class VideoPatch(BaseModel):
    """A change of a video (RFC 7396): what is absent stays, and ``null`` takes away.

    Title and visibility cannot be taken away.

    Attributes:
        title: Title, shown to people.
        description: Description, shown to people.
        tags: All its tags; a list is replaced as a whole.
        visibility: Who may see and play it.
        rules: What a playback must satisfy; its fields are changed one by one.
    """

    model_config = ConfigDict(extra="forbid")

    title: Title = _Optional
    description: Description | None = _Optional
    tags: Tags | None = _Optional
    visibility: Visibility = _Optional
    rules: RulesPatch | None = _Optional

    def changes(self, video: Video) -> dict[str, Any]:
        """Return the fields of the video that become different, with their new values."""
        wanted: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        if "description" in wanted:
            wanted["description"] = self.description or ""
        if "tags" in wanted:
            wanted["tags"] = tuple(self.tags or ())
        if "rules" in wanted:
            wanted["rules"] = self.rules.applied_to(video.rules) if self.rules else None
        return _differing(video, wanted)


def _differing(video: Video, wanted: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if getattr(video, name) != value}


def described(changes: dict[str, Any]) -> dict[str, Any]:
    """Return changes as an event tells them."""
    return {
        name: asdict(value) if isinstance(value, PlaybackRules) else value
        for name, value in changes.items()
    }
