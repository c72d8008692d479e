"""Bodies of the routes of uploads, and of what a tenant uses."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from media_api.whole import WHOLE
from media_platform.contract.upload import PARTS_MAX

PARTS_PER_REQUEST = 100
"""Most part URLs of one request: enough for minutes, and an answer of some 150 KB."""

_DIGEST_BYTES = 32
_HEX = re.compile(r"[0-9A-Fa-f]{64}")


def _digest(text: str) -> str:
    """Return a SHA-256 in base64, as S3 takes it."""
    if _HEX.fullmatch(text):
        return base64.b64encode(bytes.fromhex(text)).decode()
    try:
        content = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if len(content) != _DIGEST_BYTES or base64.b64encode(content).decode() != text:
        raise ValueError("it is no SHA-256; send its 64 hexadecimal digits or its base64")
    return text


Sha256 = Annotated[
    str,
    Field(
        min_length=44,
        max_length=64,
        description="SHA-256: 64 hexadecimal digits, or base64",
        examples=["2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"],
        json_schema_extra={"pattern": "^([0-9A-Fa-f]{64}|[0-9A-Za-z+/]{43}=)$"},
    ),
    AfterValidator(_digest),
]


class PartToSign(BaseModel):
    """A part that is to be uploaded.

    Attributes:
        number: Its number, from 1.
        sha256: SHA-256 of its bytes.
    """

    model_config = ConfigDict(extra="forbid")

    number: Annotated[int, Field(strict=True, ge=1, le=PARTS_MAX, examples=[1]), WHOLE]
    sha256: Sha256


def _each_once(parts: list[PartToSign]) -> list[PartToSign]:
    numbers = [part.number for part in parts]
    repeated = sorted({number for number in numbers if numbers.count(number) > 1})
    if repeated:
        raise ValueError(f"part {repeated[0]} is asked for more than once; name each part once")
    return parts


class PartsToSign(BaseModel):
    """Parts that are to be uploaded.

    Attributes:
        parts: The parts, each number once.
    """

    model_config = ConfigDict(extra="forbid")

    parts: Annotated[
        list[PartToSign],
        Field(min_length=1, max_length=PARTS_PER_REQUEST),
        AfterValidator(_each_once),
    ]


class PartUploadBody(BaseModel):
    """How to upload a part.

    Attributes:
        number: Its number.
        method: HTTP method.
        url: Where to send it.
        headers: Headers to send exactly so.
    """

    number: int
    method: Literal["PUT"] = "PUT"
    url: str
    headers: dict[str, str]


class PartUploadsBody(BaseModel):
    """How to upload parts.

    Attributes:
        parts: In the order in which they were asked for.
        expires_at: Time after which the URLs are refused.
    """

    parts: list[PartUploadBody]
    expires_at: str


class SingleUploadBody(BaseModel):
    """How to upload the file with one PUT.

    Attributes:
        kind: ``single``.
        method: HTTP method.
        url: Where to send it.
        headers: Headers to send exactly so.
        expires_at: Time after which the URL is refused.
    """

    kind: Literal["single"] = "single"
    method: Literal["PUT"] = "PUT"
    url: str
    headers: dict[str, str]
    expires_at: str


class ArrivedPartBody(BaseModel):
    """A part that arrived.

    Attributes:
        number: Its number.
        size_bytes: Its size.
        sha256: Its SHA-256 in base64, as S3 computed it.
        etag: Its ETag.
    """

    number: int
    size_bytes: int
    sha256: str | None
    etag: str


class MultipartUploadBody(BaseModel):
    """How to upload the file in parts.

    Attributes:
        kind: ``multipart``.
        part_bytes: Size of every part but the last, which is what remains.
        parts: Number of parts.
        arrived: The parts that arrived so far.
        expires_at: Time until which parts are taken.
    """

    kind: Literal["multipart"] = "multipart"
    part_bytes: int
    parts: int
    arrived: list[ArrivedPartBody]
    expires_at: str


UploadBody = Annotated[SingleUploadBody | MultipartUploadBody, Field(discriminator="kind")]


class LimitBody(BaseModel):
    """What of a limit is used.

    Attributes:
        used: What is used.
        limit: What may be used.
    """

    used: int
    limit: int


class UsageBody(BaseModel):
    """What a tenant uses, and what it may use.

    Attributes:
        tenant: The tenant.
        videos: Videos that are not purged.
        stored_bytes: Bytes of their files, as declared.
        uploads: Videos whose file is still to come.
    """

    tenant: str
    videos: LimitBody
    stored_bytes: LimitBody
    uploads: LimitBody
