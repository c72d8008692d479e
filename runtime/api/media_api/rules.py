"""Rules of playback: from which pages and addresses a video may be played, and for how long.

A range of addresses is part of what is signed, so the distribution holds it for every segment; the
grant is refused at once only to say why. A referrer is what a browser says of the page: it keeps
others from embedding a video, and nobody from lying who writes the client.

Source: Amazon CloudFront Developer Guide, "Create a signed URL using a custom policy":
``IpAddress`` takes one IPv4 range.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Annotated, NamedTuple, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.datastructures import Headers

from media_api.problems import Kind, Problem
from media_api.whole import WHOLE
from media_platform.contract.video import PlaybackRules

MOST_ENTRIES = 32
SHORTEST_SECONDS = 60
LONGEST_SECONDS = 7 * 24 * 3600

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*"
_HOST_PATTERN = re.compile(_HOST)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_RANGE = rf"{_OCTET}(?:\.{_OCTET}){{3}}/(?:3[0-2]|[12]?[0-9])"
_LONGEST_HOST = 253

_PROXIES = 2
"""Addresses at the end of ``X-Forwarded-For`` that are added on the way here.

CloudFront adds that of the viewer, and the load balancer that of CloudFront; what stands before
was written by the viewer. The load balancer takes requests of CloudFront only.

Source: CloudFront Developer Guide, "Request and response behavior for custom origins", client IP
addresses; Application Load Balancers guide, "HTTP headers and Application Load Balancers".
"""


def _host(text: str) -> str:
    if len(text) > _LONGEST_HOST or _HOST_PATTERN.fullmatch(text) is None:
        raise ValueError(
            f"{text[:80]!r} is not a host in lower case; write the host of the page alone, as "
            "example.com or, for all hosts below it, *.example.com, and other scripts as xn--…"
        )
    return text


def _range(text: str) -> str:
    try:
        network = IPv4Network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{text[:80]!r} is not an IPv4 range; write one in CIDR notation, as 192.0.2.0/24 "
            "(the distribution compares IPv4 addresses only)"
        ) from None
    if str(network) != text:
        raise ValueError(f"{text[:80]!r} is not the usual form of this range; write {network}")
    return text


Hosts: TypeAlias = Annotated[
    list[
        Annotated[
            str,
            Field(json_schema_extra={"pattern": f"^{_HOST}$", "maxLength": _LONGEST_HOST}),
            AfterValidator(_host),
        ]
    ],
    Field(max_length=MOST_ENTRIES, examples=[["example.com", "*.example.com"]]),
]
Ranges: TypeAlias = Annotated[
    list[
        Annotated[str, Field(json_schema_extra={"pattern": f"^{_RANGE}$"}), AfterValidator(_range)]
    ],
    Field(max_length=MOST_ENTRIES, examples=[["192.0.2.0/24"]]),
]
Seconds: TypeAlias = Annotated[
    int, Field(strict=True, ge=SHORTEST_SECONDS, le=LONGEST_SECONDS), WHOLE
]


class RulesBody(BaseModel):
    """What a playback must satisfy, beside the visibility of the video.

    Attributes:
        referrers: Hosts of the pages that may ask for it: `example.com`, or `*.example.com` for all
            hosts below. Default: any page, and none.
        ipv4_ranges: IPv4 ranges (CIDR) of the addresses that may play it. Default: any address.
        max_seconds: Longest life of a signature in seconds. Default: what the stage says.
    """

    model_config = ConfigDict(extra="forbid")

    referrers: Hosts = []
    ipv4_ranges: Ranges = []
    max_seconds: Seconds | None = None

    def to_rules(self) -> PlaybackRules | None:
        """Return them as a video carries them; ``None`` if they demand nothing."""
        rules = PlaybackRules(
            referrers=tuple(dict.fromkeys(self.referrers)),
            ipv4_ranges=tuple(dict.fromkeys(self.ipv4_ranges)),
            max_seconds=self.max_seconds,
        )
        return None if rules == PlaybackRules() else rules

    @classmethod
    def of(cls, rules: PlaybackRules | None) -> Self | None:
        """Return the rules of a video as clients see them."""
        if rules is None:
            return None
        return cls.model_construct(
            referrers=list(rules.referrers),
            ipv4_ranges=list(rules.ipv4_ranges),
            max_seconds=rules.max_seconds,
        )


class Client(NamedTuple):
    """Where a request for playback comes from.

    Attributes:
        address: IP address, as CloudFront saw it; ``None`` if the request came past it.
        referrer: Host of the page that asks, as the client says; ``None`` if it says none.
    """

    address: str | None
    referrer: str | None

    @classmethod
    def of(cls, headers: Headers) -> Self:
        """Read it from the headers of a request."""
        # Once over all of them, since each look-up goes over all of them.
        lines = [value for name, value in headers.raw if name == b"x-forwarded-for"]
        first = dict(reversed(headers.raw))
        hops = b",".join(lines).decode("latin-1").split(",")
        address = hops[-_PROXIES].strip() if len(hops) >= _PROXIES else None
        page = first.get(b"origin", first.get(b"referer"))
        return cls(address, None if page is None else _host_of(page.decode("latin-1")))


def _host_of(url: str) -> str | None:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    return host.rstrip(".") if host and len(host) <= _LONGEST_HOST else None


def admit(video_id: str, rules: PlaybackRules, client: Client) -> str | None:
    """Return the range of addresses to be signed, or ``None`` for any.

    Args:
        video_id: The video.
        rules: Its rules.
        client: Who wants to play it.

    Raises:
        Problem: If a rule forbids it; the lists are not told.
    """
    if rules.referrers and not _is_named(client.referrer, rules.referrers):
        raise _restricted(
            "referrers",
            f"video {video_id} is played on certain pages only, and the request names "
            f"{client.referrer or 'no page'} in Origin or Referer; ask from a page that its owner "
            "allows",
        )
    if not rules.ipv4_ranges:
        return None
    for text in rules.ipv4_ranges:
        if is_within(client.address, text):
            return text
    raise _restricted(
        "ipv4_ranges",
        f"video {video_id} is played from certain IPv4 addresses only, and the request came "
        f"{_whence(client.address)}; ask from a network that its owner allows, over IPv4",
    )


def _whence(address: str | None) -> str:
    if address is None:
        return "from an unknown address"
    if ":" in address:
        return f"over IPv6, from {address}, which none of them is"
    return f"from {address}"


def is_within(address: str | None, network: str) -> bool:
    """Tell whether an address lies in an IPv4 range; those of IPv6 and no address do not."""
    if address is None:
        return False
    try:
        known = ip_address(address)
    except ValueError:
        return False
    return isinstance(known, IPv4Address) and known in IPv4Network(network)


def _is_named(host: str | None, patterns: tuple[str, ...]) -> bool:
    if host is None:
        return False
    return any(
        host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern
        for pattern in patterns
    )


def _restricted(rule: str, detail: str) -> Problem:
    return Problem(Kind.PLAYBACK_RESTRICTED, detail, rule=rule)
