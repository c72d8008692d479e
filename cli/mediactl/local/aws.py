"""Clients of the emulator's AWS APIs."""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from mediactl.limits import PLANE, Limits, patient

ACCOUNT = "000000000000"
DEFAULT_REGION = "us-east-1"
"""Region of calls that name none; stacks say themselves where they belong."""

ROOT_ACCESS_KEY = "test"
ROOT_SECRET_KEY = "test"  # noqa: S105 - the fixed root credential of the emulator


@dataclass(frozen=True)
class Emulator:
    """A running emulator.

    Attributes:
        port: Its TCP port on 127.0.0.1.
        edge_port: Port of the edge, which it gives distributions as their domain name.
        control_token: Secret of its control door.
    """

    port: int
    edge_port: int
    control_token: str = field(repr=False)

    @property
    def url(self) -> str:
        """Endpoint of all AWS APIs."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def edge_url(self) -> str:
        """The one origin that clients know."""
        return f"http://127.0.0.1:{self.edge_port}"

    def client(self, service: str, region: str, **credentials: str) -> Any:
        """Return a boto3 client. That of the root user is made once; it may be shared by threads.

        Args:
            service: Name of the service as boto3 knows it.
            region: Region.
            **credentials: ``aws_access_key_id`` and so on. Default: the root user.
        """
        if credentials:
            return new_client(self.url, service, region, credentials)
        return self._root_client(service, region, None)

    def patient_client(self, service: str, region: str) -> Any:
        """Return a client of the root user that tells a person what is waited for, and how long."""
        return self._root_client(service, region, patient(PLANE))

    def _root_client(self, service: str, region: str, limits: Limits | None) -> Any:
        key = (self.url, service, region, limits)
        with _lock:
            if key not in _clients:
                _clients[key] = new_client(self.url, service, region, limits=limits)
            return _clients[key]

    def control(self, operation: str, request: Any = None, *, timeout: float = 10) -> Any:
        """Call the control door.

        Args:
            operation: Name of the operation.
            request: Its argument.
            timeout: Longest wait in seconds.

        Raises:
            OSError: If the emulator does not answer, or is another one than this.
        """
        call = urllib.request.Request(  # noqa: S310 - our own loopback URL
            f"{self.url}/_mediactl/{operation}",
            data=json.dumps(request or {}, default=str).encode(),
            headers={"x-mediactl-token": self.control_token},
            method="POST",
        )
        with _DIRECT.open(call, timeout=timeout) as answer:
            return json.load(answer)


# A proxy of the person's environment has no business between parts of one plane.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


_ROOT: dict[str, Any] = {
    "aws_access_key_id": ROOT_ACCESS_KEY,
    "aws_secret_access_key": ROOT_SECRET_KEY,
}
_clients: dict[tuple[str, str, str, Limits | None], Any] = {}
_lock = threading.Lock()


def new_client(
    url: str,
    service: str,
    region: str,
    credentials: dict[str, Any] | None = None,
    *,
    limits: Limits | None = None,
) -> Any:
    """Return a client of an emulator, which no setting of the person's own account changes.

    Args:
        url: Endpoint of the emulator.
        service: Name of the service as boto3 knows it.
        region: Region.
        credentials: ``aws_access_key_id`` and so on. Default: the root user.
        limits: How long its calls may take. Default: as long as sockets do, and in silence.
    """
    import botocore.session  # noqa: PLC0415 - slow, and not every command needs it

    from mediactl.aws_calls import hold, limited  # noqa: PLC0415

    config = limited(limits or PLANE, proxies={}, s3={"addressing_style": "path"})
    # Neither a profile nor files of the person's own account must reach in.
    nowhere = (None, None, os.devnull, None)
    session = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": nowhere,
            "credentials_file": nowhere,
        }
    )
    client = session.create_client(
        service, region_name=region, endpoint_url=url, config=config, **(credentials or _ROOT)
    )
    keep_address(client)
    if limits is not None:
        hold(client, limits)
    return client


def keep_address(client: Any) -> None:
    """Make a client of S3 Control ask the address of an emulator, not one below it.

    It puts the account before, as in ``http://000000000000.127.0.0.1``, which no resolver knows.
    """

    def without_account(request: Any, **_: Any) -> None:
        request.url = request.url.replace(f"//{ACCOUNT}.", "//", 1)

    client.meta.events.register("before-sign.s3-control", without_account)


def root_environment(emulator_url: str) -> dict[str, str]:
    """Return the variables that point AWS tools to the emulator, as its root user."""
    return {
        "AWS_ACCESS_KEY_ID": ROOT_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ROOT_SECRET_KEY,
        "AWS_REGION": DEFAULT_REGION,
        "AWS_DEFAULT_REGION": DEFAULT_REGION,
        "AWS_ENDPOINT_URL": emulator_url,
        "AWS_ENDPOINT_URL_S3": emulator_url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
