"""Where webhooks may be sent: what a URL may look like, and which addresses it may lead to.

Whoever registers an endpoint chooses where a function inside the account sends requests to. So a
URL is held against these rules when it is registered, and again before every attempt together with
the addresses that its name leads to by then.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

URL_MAX_CHARACTERS = 2048
"""Longest URL of an endpoint."""

NO_NETWORKS = "none"
"""How an empty list of networks is written."""

_NO_HTTPS = "it is no https URL; send https://<host>/<path>"
_HTTPS_PORT = 443
_FIRST_FREE_PORT = 1024
_LAST_PORT = 65_535
_VISIBLE = re.compile(r"[!-~]+")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
_NAME_MAX_CHARACTERS = 253

_NOT_PUBLIC_IPV4: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback, where a Lambda function finds its own runtime
        "169.254.0.0/16",  # link-local, with the metadata of instances and tasks
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
"""Source: IANA IPv4 Special-Purpose Address Registry."""

_PUBLIC_IPV6 = ipaddress.ip_network("2000::/3")
"""All that IANA gives to networks. Outside of it lie loopback, link-local, unique local, multicast,
and the addresses that stand for IPv4 ones: mapped (``::ffff:0:0/96``) and NAT64 (``64:ff9b::/96``).
"""

_NOT_PUBLIC_IPV6: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "2001::/23",  # protocol assignments, with Teredo, which stands for IPv4 addresses
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which stands for IPv4 addresses
        "3fff::/20",  # documentation
    )
)
"""Source: IANA IPv6 Special-Purpose Address Registry."""


class RefusedUrlError(ValueError):
    """Nothing is sent to this URL; the message says why and what is allowed."""


@dataclass(frozen=True)
class Target:
    """Where a URL points.

    Attributes:
        scheme: ``https``, or ``http`` where that is allowed.
        host: Name or address, in lower case, an IPv6 address without brackets.
        port: TCP port.
        path: Path and query, as the request line has them.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def address(self) -> Address | None:
        """The host as an address, ``None`` if it is a name."""
        return _address(self.host)


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return the networks of a list with commas, e.g. ``127.0.0.0/8,fd00::/8``, or of ``none``.

    Raises:
        ValueError: If one of them is no network.
    """
    if text == NO_NETWORKS:
        return ()
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(","))


def join_networks(networks: Iterable[str | Network]) -> str:
    """Return the list that :func:`parse_networks` reads."""
    return ",".join(str(network) for network in networks) or NO_NETWORKS


def parse_url(url: str, allowed_networks: tuple[Network, ...] = ()) -> Target:
    """Return where ``url`` points, if it is one that an endpoint may have.

    Args:
        url: The URL.
        allowed_networks: Networks that are let through although they are not public. Only for hosts
            inside them is ``http`` allowed; of a name that shows when it is resolved.

    Raises:
        RefusedUrlError: If nothing may be sent there.
    """
    if len(url) > URL_MAX_CHARACTERS:
        raise RefusedUrlError(
            f"it has {len(url)} characters, allowed are {URL_MAX_CHARACTERS}; shorten it"
        )
    if not _VISIBLE.fullmatch(url) or "\\" in url:
        raise RefusedUrlError(
            "it holds characters that no URL has; encode them with %, and names of domains as "
            "punycode"
        )
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise RefusedUrlError("it is no URL; send https://<host>/<path>") from None
    if parts.scheme not in ({"https", "http"} if allowed_networks else {"https"}) or not host:
        raise RefusedUrlError(_NO_HTTPS)
    if "@" in parts.netloc:
        raise RefusedUrlError(
            "it holds a user or a password, which would stand in logs; leave them out and check "
            "the signature instead"
        )
    if "#" in url:
        raise RefusedUrlError("it has a fragment, which is never sent; remove what follows the #")
    port = _port(parts.scheme, port)
    path = parts.path or "/"
    target = Target(parts.scheme, host, port, f"{path}?{parts.query}" if parts.query else path)
    _check_host(target, allowed_networks)
    return target


def check_addresses(
    target: Target, addresses: Iterable[Address], allowed_networks: tuple[Network, ...] = ()
) -> None:
    """Check that every address to which a name leads may be sent to.

    All of them count, not the one that is taken: a name that leads to a public and to a private
    address is one that somebody is trying something with.

    Raises:
        RefusedUrlError: If one may not, or the scheme is ``http`` outside the allowed networks.
    """
    for address in addresses:
        inside = _is_in(address, allowed_networks)
        if not inside and not is_public(address):
            raise RefusedUrlError(
                f"{target.host} leads to {address}, which is not a public address; "
                "send to a host that the internet reaches"
            )
        if not inside and target.scheme == "http":
            raise RefusedUrlError(_NO_HTTPS)


def is_public(address: Address) -> bool:
    """Tell whether an address is one that the internet reaches, and stands for no other."""
    if address.version == 4:  # noqa: PLR2004 - IPv4
        return not _is_in(address, _NOT_PUBLIC_IPV4)
    return address in _PUBLIC_IPV6 and not _is_in(address, _NOT_PUBLIC_IPV6)


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _port(scheme: str, given: int | None) -> int:
    port = given if given is not None else (_HTTPS_PORT if scheme == "https" else 80)
    if port != _HTTPS_PORT and not _FIRST_FREE_PORT <= port <= _LAST_PORT:
        raise RefusedUrlError(
            f"its port is {port}, allowed are {_HTTPS_PORT} and those from {_FIRST_FREE_PORT} on, "
            "since lower ones belong to other protocols"
        )
    return port


def _check_host(target: Target, allowed_networks: tuple[Network, ...]) -> None:
    """Refuse what can be refused before the name is resolved."""
    address = target.address
    if address is not None:
        check_addresses(target, [address], allowed_networks)
        return
    labels = target.host.split(".")
    # What ends in a number is how old parsers write an IPv4 address: 127.1, 0x7f.1, 2130706433.
    if (
        len(target.host) > _NAME_MAX_CHARACTERS
        or not all(_LABEL.fullmatch(label) for label in labels)
        or not labels[-1][0].isalpha()
    ):
        raise RefusedUrlError(
            f"its host {target.host[:80]!r} is neither a name of a domain nor an IP address; "
            "correct it"
        )
