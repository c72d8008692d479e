"""What a seed file says: tenants, users and videos that are to be there."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from media_platform.contract.identity import TENANT_CHARACTERS, VIEWER_GROUP
from media_platform.contract.object_keys import is_key_segment
from mediactl.errors import USAGE, CommandError
from mediactl.videos.uploads import content_type_of

BUILT_IN = Path(__file__).with_name("seed.toml")

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PASSWORD_CHARACTERS = 12
_KINDS = (r"[a-z]", r"[A-Z]", r"[0-9]", r"[^A-Za-z0-9]")


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SeedQuota(_Given):
    """How much a tenant may use; it takes an operator.

    Attributes:
        videos: Most videos.
        stored_bytes: Most bytes of their files.
        uploads: Most uploads at a time.
    """

    videos: Annotated[int, Field(strict=True, ge=0)]
    stored_bytes: Annotated[int, Field(strict=True, ge=0)]
    uploads: Annotated[int, Field(strict=True, ge=0)]


class SeedTenant(_Given):
    """A tenant; those of users and videos need not be named. One without takes an operator.

    Attributes:
        name: Its name.
        quota: How much it may use. Default: what holds now.
    """

    name: str
    quota: SeedQuota | None = None


class SeedUser(_Given):
    """A user.

    Attributes:
        email: Its address, by which it is found again.
        tenant: Its tenant.
        groups: Its groups. Default: viewer.
        name: What people call it. Default: nothing.
        password: Its password, for places where everybody may know it. Default: nobody knows it,
            unless it is invited or ``--passwords`` is given.
        invite: Whether Cognito sends it a first password. Default: no.
    """

    email: str
    tenant: str
    groups: Annotated[list[Literal["admin", "editor", "viewer"]], Field(min_length=1)] = [
        VIEWER_GROUP  # type: ignore[list-item]
    ]
    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    password: str | None = None
    invite: bool = False


class Sample(_Given):
    """A video that ffmpeg makes: motion, a clock, and sound.

    Attributes:
        seconds: Length.
        width: Pixels a line.
        height: Lines.
    """

    seconds: Annotated[int, Field(strict=True, ge=1, le=3600)] = 6
    width: Annotated[int, Field(strict=True, ge=160, le=3840, multiple_of=2)] = 640
    height: Annotated[int, Field(strict=True, ge=90, le=2160, multiple_of=2)] = 360


class SeedVideo(_Given):
    """A video, found again by its title; it belongs to an account that seeding makes.

    Attributes:
        tenant: Its tenant.
        title: Its title, once in the tenant.
        file: Its file, named from the folder of the seed file.
        sample: What is made instead of a file.
        description: Its description.
        tags: Its tags.
        visibility: Who may play it. Default: the tenant.
    """

    tenant: str
    title: Annotated[str, Field(min_length=1, max_length=200)]
    file: str | None = None
    sample: Sample | None = None
    description: Annotated[str, Field(max_length=5000)] = ""
    tags: Annotated[list[str], Field(max_length=20)] = []
    visibility: Literal["TENANT", "PRIVATE", "PUBLIC"] = "TENANT"


class SeedFile(_Given):
    """All that is to be there.

    Attributes:
        tenants: Tenants.
        users: Users.
        videos: Videos.
    """

    tenants: list[SeedTenant] = []
    users: list[SeedUser] = []
    videos: list[SeedVideo] = []

    @property
    def populated(self) -> list[str]:
        """Tenants of users and videos, in order."""
        return sorted({*(u.tenant for u in self.users), *(v.tenant for v in self.videos)})


def read_seed_file(path: Path) -> SeedFile:
    """Read and check a file.

    Raises:
        CommandError: If it says what is not understood, or cannot be; it names the place.
    """
    try:
        content = SeedFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        problem = next(_problems(content, path.parent), None)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = f"it is no TOML: {error}"
    except ValidationError as error:
        problem = _first(error)
    if problem is not None:
        raise CommandError(
            f"{path}: {problem}",
            hint="`mediactl seed --help` says what may stand there",
            exit_code=USAGE,
        )
    return content


def _first(error: ValidationError) -> str:
    """Return the first thing that is wrong, with the place where it stands."""
    found = error.errors(include_url=False)[0]
    place = ""
    for part in found["loc"]:
        place += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    what = found["msg"]
    if found["type"] == "extra_forbidden":
        return f"{place[1:]} is not known"
    if found["type"] == "missing":
        return f"{place[1:]} is missing"
    return f"{place[1:]} is {found['input']!r}: {what[:1].lower()}{what[1:]}"


def _problems(content: SeedFile, folder: Path) -> Iterator[str]:
    """Yield what one entry alone does not show, or no type says."""
    for number, tenant in enumerate(content.tenants, start=1):
        yield from _tenant_problems(f"tenants[{number}].name", tenant.name)
    for number, user in enumerate(content.users, start=1):
        yield from _tenant_problems(f"users[{number}].tenant", user.tenant)
        yield from _user_problems(f"users[{number}]", user)
    for number, video in enumerate(content.videos, start=1):
        yield from _tenant_problems(f"videos[{number}].tenant", video.tenant)
        yield from _video_problems(f"videos[{number}]", video, folder)
    yield from _repeated("tenant", (one.name for one in content.tenants))
    yield from _repeated("user", (one.email for one in content.users))
    titles = (f"{one.title!r} of tenant {one.tenant}" for one in content.videos)
    yield from _repeated("video", titles)


def _tenant_problems(place: str, name: str) -> Iterator[str]:
    if not is_key_segment(name) or len(name) > TENANT_CHARACTERS:
        yield (
            f"{place} is {name!r}, which is no name of a tenant: letters, digits, '_', '.', ':' "
            f"and '-', {TENANT_CHARACTERS} at most"
        )


def _user_problems(place: str, user: SeedUser) -> Iterator[str]:
    if not _EMAIL.fullmatch(user.email):
        yield f"{place}.email is {user.email!r}, which is no e-mail address"
    if user.password is None:
        return
    if user.invite:
        yield f"{place} has a password and is invited; it can be one of both"
    if len(user.password) < _PASSWORD_CHARACTERS or not all(
        re.search(kind, user.password) for kind in _KINDS
    ):
        yield (
            f"{place}.password is too weak: it needs {_PASSWORD_CHARACTERS} characters or more, of "
            "lower and upper case, digits and symbols"
        )


def _video_problems(place: str, video: SeedVideo, folder: Path) -> Iterator[str]:
    if (video.file is None) == (video.sample is None):
        yield f"{place} needs either file or sample"
    if video.file is None:
        return
    path = folder / video.file
    if not path.is_file():
        yield f"{place}.file is {video.file!r}, and there is no file {path}"
    try:
        content_type_of(path)
    except CommandError as error:
        yield f"{place}.file: {error}"


def _repeated(what: str, names: Iterable[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{what} {name} stands there {count} times; name it once"
