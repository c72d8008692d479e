"""Start and end of a process, which the API and the admin service share."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from media_api import logs
from media_api.tracing import make_provider, send_rest
from media_platform.contract.environment import InvalidEnvironmentError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_BAD_CONFIGURATION = 78
"""Exit status for a configuration error (``EX_CONFIG`` of sysexits.h)."""


class _Place(Protocol):
    @property
    def stage(self) -> str: ...

    @property
    def home_region(self) -> str: ...


class _Settings(Protocol):
    @property
    def environment(self) -> _Place: ...


S = TypeVar("S", bound=_Settings)


def run(
    name: str,
    variables: Mapping[str, str],
    read: Callable[[Mapping[str, str]], S],
    serve: Callable[[S, TracerProvider | None], Coroutine[Any, Any, None]],
) -> int:
    """Read the settings, serve until told to stop, and return the exit status.

    Args:
        name: Name of the service, in errors and spans.
        variables: The environment of the process.
        read: Reads the settings from it.
        serve: Serves with them.
    """
    try:
        settings = read(variables)
    except InvalidEnvironmentError as error:
        sys.stderr.write(f"{name} cannot start: {error}\n")
        return _BAD_CONFIGURATION
    logs.configure()
    place = settings.environment
    spans = make_provider(variables, service=name, stage=place.stage, region=place.home_region)
    asyncio.run(serve(settings, spans))
    if spans is not None:
        send_rest(spans)
    return 0


def leave(status: int) -> NoReturn:
    """End the process without tearing the interpreter down.

    Threads of the HTTP server may still be letting go of Python objects; an interpreter that is
    torn down under them aborts, and a clean stop would look like a crash.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
