"""The runtime's sources as build contexts: one folder per service, the same from everywhere.

A build context is the folder of the service (package, ``Dockerfile``, ``requirements.txt``) with
the contract beside it, so that ``import media_platform.contract`` works inside. It holds the same
bytes whether it is staged from a checkout (``runtime/``) or from an installed wheel
(``media_platform/_runtime``), hence the asset hashes are equal and nothing is deployed twice.

``python -m media_platform.assets SERVICE DIRECTORY`` writes one out, to build an image by hand.
"""

from __future__ import annotations

import argparse
import atexit
import functools
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_LEFT_OUT_FOLDERS = frozenset({"__pycache__", "tests"})
_LEFT_OUT_SUFFIXES = frozenset({".pyc", ".in"})


class Service(StrEnum):
    """The services of the runtime, by the name of their folder."""

    API = "api"
    WORKER = "worker"
    UPLOAD_INTAKE = "lambda_s3_sqs"
    CONTENT_SCAN = "lambda_scan"
    CLAMAV_SCANNER = "scanner_clamav"
    OUTBOX_RELAY = "lambda_outbox"
    WEBHOOKS = "lambda_webhooks"
    RUN_PURGE = "lambda_purge"
    ACCESS_TOKEN = "lambda_token"  # noqa: S105  the name of a folder
    DEPLOY_RESOURCES = "lambda_deploy"


def runtime_folder() -> Path:
    """Return the folder that holds the sources of all services.

    Raises:
        FileNotFoundError: If neither an installed runtime nor a checkout is there.
    """
    installed, checkout = _PACKAGE / "_runtime", _PACKAGE.parent / "runtime"
    for folder in (installed, checkout):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"no runtime sources in {installed} or {checkout}; install media-platform from its wheel "
        "or run from a checkout"
    )


@functools.cache
def build_context(service: Service) -> Path:
    """Return a folder with the build context of ``service``, which lives as long as the process.

    Raises:
        FileNotFoundError: If the sources are not there.
    """
    folder = _staging_root() / service.value
    write_build_context(service, folder)
    return folder


def write_build_context(service: Service, folder: Path) -> None:
    """Write the build context of ``service`` into ``folder``, which must not exist or be empty.

    Raises:
        FileExistsError: If there is something in ``folder`` already.
        FileNotFoundError: If the sources are not there.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"folder {str(folder)!r} is not empty; name a new or an empty one")
    source = runtime_folder() / service.value
    if not source.is_dir():
        raise FileNotFoundError(f"service {service.value!r} has no sources in {source}")
    _copy(source, folder)
    _copy_file(_PACKAGE / "__init__.py", folder / "media_platform" / "__init__.py")
    _copy(_PACKAGE / "contract", folder / "media_platform" / "contract")


@functools.cache
def _staging_root() -> Path:
    root = Path(tempfile.mkdtemp(prefix="media-platform-assets-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def _copy(source: Path, target: Path) -> None:
    for file in _files(source):
        _copy_file(file, target / file.relative_to(source))


def _files(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.suffix in _LEFT_OUT_SUFFIXES:
            continue
        if entry.is_file():
            yield entry
        elif entry.name not in _LEFT_OUT_FOLDERS:
            yield from _files(entry)


def _copy_file(source: Path, target: Path) -> None:
    """Copy content only: modes and times differ between a checkout and a wheel."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o644)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one build context out; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m media_platform.assets", description="Write out a service's build context."
    )
    parser.add_argument("service", choices=[service.value for service in Service])
    parser.add_argument("directory", type=Path, help="new or empty folder")
    options = parser.parse_args(arguments)
    try:
        write_build_context(Service(options.service), options.directory)
    except OSError as error:
        parser.exit(1, f"{error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
