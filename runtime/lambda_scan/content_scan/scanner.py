"""Judges one object version."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from content_scan.findings import RefusalError
from content_scan.reader import HEAD_BYTES, Reader
from content_scan.sniffer import sniff
from media_platform.contract.scanning import ScanRequest, Verdict

_LOG = logging.getLogger(__name__)


class GoneError(Exception):
    """There is no such object version."""


class QuarantinedError(Exception):
    """Another scanner has refused the file, so that nobody may read it any more."""


class Files(Protocol):
    """Where the files are."""

    def read(self, request: ScanRequest, start: int, end: int) -> tuple[bytes, int]:
        """Return the bytes from ``start`` to before ``end``, and the size of the whole file.

        Raises:
            GoneError: If the version is gone.
            QuarantinedError: If it was refused.
        """


def judge(request: ScanRequest, files: Files) -> Verdict | None:
    """Return the verdict on the version that a request names, or ``None`` if none is needed.

    Raises:
        botocore.exceptions.ClientError: If the storage refused or was not reached.
    """
    started = time.monotonic()
    fields: dict[str, object] = {
        "video_id": request.video_id,
        "run_id": request.run_id,
        "tenant": request.tenant,
        "object_version": request.version_id,
        "content_type": request.content_type,
    }
    try:
        reader = _open(request, files)
        try:
            sniffed = sniff(reader, request.content_type)
        finally:
            fields |= {"requests": reader.requests + 1, "bytes": reader.bytes_read}
        fields |= {
            "container": sniffed.family.name.lower(),
            "codecs": list(sniffed.content.codecs),
            "whole": sniffed.whole,
        }
        verdict = request.clean()
    except RefusalError as refusal:
        verdict = request.refused(refusal.failure.code, refusal.failure.message)
    except GoneError:
        verdict = request.refused("file_gone", "The file was deleted before it was processed.")
    except QuarantinedError:
        _LOG.info("another scanner refused the file", extra=fields)
        return None
    milliseconds = round(1000 * (time.monotonic() - started), 1)
    fields |= {"verdict": verdict.outcome.value, "code": verdict.code, "milliseconds": milliseconds}
    _LOG.info("judged an upload", extra=fields)
    return verdict


def _open(request: ScanRequest, files: Files) -> Reader:
    """Return a reader that has the start of the file already.

    Raises:
        GoneError: If the version is gone.
        RefusalError: If it has another size than was announced.
    """
    head, size = files.read(request, 0, HEAD_BYTES)
    if size != request.size_bytes:
        raise RefusalError(
            "wrong_size",
            f"The uploaded file has {size} bytes, but {request.size_bytes} were announced.",
        )
    return Reader(_after(head, lambda start, end: files.read(request, start, end)[0]), size)


def _after(head: bytes, fetch: Callable[[int, int], bytes]) -> Callable[[int, int], bytes]:
    def fetched(start: int, end: int) -> bytes:
        return head[start:end] if end <= len(head) else fetch(start, end)

    return fetched
