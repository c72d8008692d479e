"""Judges one object version."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from clamav_scan.clamd import Clamd, UnscannedError
from media_platform.contract.scanning import MAX_MESSAGE, ScanRequest, Unscanned, Verdict

_LOG = logging.getLogger(__name__)

RANGE_BYTES = 8 * 1024**2
"""What is read of a file at a time."""


class GoneError(Exception):
    """There is no such object version."""


class QuarantinedError(Exception):
    """Another scanner has refused the file, so that nobody may read it any more."""


class Files(Protocol):
    """Where the files are."""

    def size(self, request: ScanRequest) -> int:
        """Return the size of the version.

        Raises:
            GoneError: If the version is gone.
            QuarantinedError: If it was refused.
        """

    def read(self, request: ScanRequest, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to before ``end``.

        Raises:
            GoneError: If the version is gone.
            QuarantinedError: If it was refused.
        """


@dataclass(frozen=True)
class Scanner:
    """Asks ClamAV about files.

    Attributes:
        files: Where the files are.
        clamd: The ClamAV daemon.
        max_bytes: Largest file that it is asked about.
        unscanned: What becomes of larger ones, and of those for which a limit of ClamAV is met.
    """

    files: Files
    clamd: Clamd
    max_bytes: int
    unscanned: Unscanned

    def judge(self, request: ScanRequest, keep: Callable[[], None]) -> Verdict | None:
        """Return the verdict on the version that a request names, or ``None`` if none is needed.

        Args:
            request: The request.
            keep: Called every second or after every part; what it raises ends the scan.

        Raises:
            ClamdError: If clamd could not tell.
            botocore.exceptions.ClientError: If the storage refused or was not reached.
        """
        started = time.monotonic()
        fields: dict[str, object] = {
            "video_id": request.video_id,
            "run_id": request.run_id,
            "tenant": request.tenant,
            "object_version": request.version_id,
        }
        try:
            size = self.files.size(request)
            fields["bytes"] = size
            verdict = self._scan(request, size, keep)
        except GoneError:
            verdict = request.refused("file_gone", "The file was deleted before it was processed.")
        except QuarantinedError:
            _LOG.info("another scanner refused the file", extra=fields)
            return None
        except UnscannedError as unscanned:
            fields["limit"] = unscanned.limit
            verdict = self._not_scanned(request)
            _LOG.warning("a file was not scanned to its end", extra=fields)
        milliseconds = round(1000 * (time.monotonic() - started))
        fields |= {
            "verdict": verdict.outcome.value,
            "code": verdict.code,
            "reason": verdict.message,
            "milliseconds": milliseconds,
        }
        _LOG.info("judged an upload", extra=fields)
        return verdict

    def _scan(self, request: ScanRequest, size: int, keep: Callable[[], None]) -> Verdict:
        if size > self.max_bytes:
            raise UnscannedError("max_scan_bytes")
        name = self.clamd.scan(self._parts(request, size), keep)
        if name is None:
            return request.clean()
        message = f"The file holds malware: {_printable(name)}"
        return request.refused("malware", message[: MAX_MESSAGE - 1] + ".")

    def _parts(self, request: ScanRequest, size: int) -> Iterator[bytes]:
        for start in range(0, size, RANGE_BYTES):
            yield self.files.read(request, start, min(start + RANGE_BYTES, size))

    def _not_scanned(self, request: ScanRequest) -> Verdict:
        if self.unscanned is Unscanned.PASS:
            return request.clean()
        return request.refused(
            "not_scanned", "The file is too large or too complex to be scanned for malware."
        )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
