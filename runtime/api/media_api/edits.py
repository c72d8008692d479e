"""What people may change about a video: as a whole (PUT) or in part (PATCH)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from media_api.rules import Hosts, Ranges, RulesBody, Seconds
from media_api.tags import Tags
from media_platform.contract.video import PlaybackRules, Video, Visibility

TITLE_MAX_CHARACTERS = 200
DESCRIPTION_MAX_CHARACTERS = 5000


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank; give the video a title")
    return text


Title: TypeAlias = Annotated[
    str,
    Field(min_length=1, max_length=TITLE_MAX_CHARACTERS, examples=["Harbour at dawn"]),
    AfterValidator(_not_blank),
]
Description: TypeAlias = Annotated[
    str, Field(max_length=DESCRIPTION_MAX_CHARACTERS, examples=["Filmed from the pier."])
]


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

    referrers: Hosts | None = _Optional
    ipv4_ranges: Ranges | None = _Optional
    max_seconds: Seconds | None = _Optional

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
