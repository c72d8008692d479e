"""The gateway of a region: the one process through which the region and the world reach each other.

``python -m mediactl.local.gateway STATE_FOLDER REGION PORT`` listens as an HTTP proxy. Viewers'
requests reach load balancers and buckets of the region through it, calls from other regions its
services, and what is replicated leaves and enters by it. A request that names another region is
passed on to that region's gateway, one that names none goes to where its URL points, or to the
emulator. Every request has a connection of its own.

Whoever kills the process cuts the region off: nothing of it stops, and nobody reaches it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from mediactl.local import processes
from mediactl.local.aws import Emulator
from mediactl.local.ports import LOOPBACK, free_ports, is_free
from mediactl.local.processes import ProcessRecord
from mediactl.local.state import StateFolder, read_state, write_json

DESTINATION = b"x-mediactl-destination"
PREFIX = "gateway-"
FILE = "gateways.json"
_HEAD_BYTES = 64 * 1024
_BLOCK_BYTES = 256 * 1024

logger = logging.getLogger("mediactl.gateway")


def gateway_ports(state: StateFolder) -> dict[str, int]:
    """Return the ports of the gateways of a plane by region; none where it has one region."""
    return read_state(state.root / FILE, dict[str, int]) or {}


def assign_ports(
    known: dict[str, int], regions: list[str], running: Container[str]
) -> dict[str, int]:
    """Return a port for the gateway of each region: the one it had, if that is free or its own.

    Args:
        known: The ports that were published.
        regions: The regions.
        running: Regions whose gateway runs.
    """
    ports = {
        region: known[region]
        for region in regions
        if region in known and (region in running or is_free(known[region]))
    }
    missing = [region for region in regions if region not in ports]
    return ports | dict(zip(missing, free_ports(len(missing)), strict=True))


def publish_ports(state: StateFolder, ports: dict[str, int]) -> None:
    """Tell everybody the ports of the gateways of a plane, which listen there."""
    write_json(state.root / FILE, ports)


def running_gateways(state: StateFolder) -> dict[str, ProcessRecord]:
    """Return the gateways that run, by region."""
    return {
        record.name.removeprefix(PREFIX): record
        for record in processes.records(state.processes)
        if record.name.startswith(PREFIX) and processes.is_running(record)
    }


class Gateway:
    """The gateway of one region.

    Args:
        region: The region.
        port: Port to listen on.
        find_ports: Returns the ports of the gateways of all regions, of which some may join or
            come back at another port.
        emulator_port: Port of the emulator.
    """

    def __init__(
        self,
        region: str,
        port: int,
        find_ports: Callable[[], Mapping[str, int]],
        emulator_port: int,
    ) -> None:
        self._region = region
        self._port = port
        self._find_ports = find_ports
        self._emulator_port = emulator_port

    async def serve(self) -> None:
        """Listen until the process ends."""
        server = await asyncio.start_server(
            self._connected, LOOPBACK, self._port, limit=_HEAD_BYTES
        )
        async with server:
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward: asyncio.StreamWriter | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            port, head = self._route(head)
            back, onward = await asyncio.open_connection(LOOPBACK, port)
            onward.write(head)
            sending = asyncio.create_task(_pump(reader, onward))
            # The answer ends the connection; the rest of a request that was refused is not sent.
            await _pump(back, writer)
            sending.cancel()
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            logger.debug("a connection broke off", exc_info=True)
        finally:
            for stream in (writer, onward):
                if stream is not None:
                    stream.close()

    def _route(self, head: bytes) -> tuple[int, bytes]:
        """Return the port to which a request goes, and its head as it goes there.

        Raises:
            ValueError: If it is no request, or one to a region that is not there.
        """
        first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        method, target, version = first.split(b" ")
        destination = self._region
        kept = []
        for line in lines:
            name, _, value = line.partition(b":")
            if name.lower() == DESTINATION:
                destination = value.strip().decode()
            if name.lower() not in {b"connection", b"proxy-connection"}:
                kept.append(line)
        kept.append(b"Connection: close")
        if destination != self._region:
            onward = self._find_ports().get(destination)
            if onward is None:
                raise ValueError(f"{destination} has no gateway")
            return onward, b"\r\n".join([first, *kept]) + b"\r\n\r\n"
        port = self._emulator_port
        if target.startswith(b"http://"):
            port = urlsplit(target.decode()).port or port
            target = b"/" + target.split(b"/", 3)[3]
        first = b" ".join([method, target, version])
        return port, b"\r\n".join([first, *kept]) + b"\r\n\r\n"


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while block := await reader.read(_BLOCK_BYTES):
            writer.write(block)
            await writer.drain()


def main() -> None:
    """Serve until SIGTERM."""
    state, region, port = StateFolder(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    emulator = read_state(state.emulator_file, Emulator)
    if emulator is None:
        raise SystemExit(f"{state.emulator_file} does not describe an emulator")
    gateway = Gateway(region, port, lambda: gateway_ports(state), emulator.port)
    asyncio.run(gateway.serve())


if __name__ == "__main__":
    main()
