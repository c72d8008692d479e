from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.datastructures import Headers

from media_api.problems import Problem
from media_api.rules import LONGEST_SECONDS, Client, RulesBody, admit, is_within
from media_platform.contract.video import PlaybackRules

VIDEO = "018f0000-0000-7000-8000-000000000000"

HOSTS = st.lists(st.sampled_from(["a", "b", "ab", "x-1"]), min_size=1, max_size=4).map(".".join)
PATTERNS = st.builds(str.__add__, st.sampled_from(["", "*."]), HOSTS)
NETWORKS = st.builds(
    lambda number, prefix: ipaddress.IPv4Network((number, prefix), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


def client(*headers: tuple[str, str]) -> Client:
    return Client.of(Headers(raw=[(name.encode(), value.encode()) for name, value in headers]))


@pytest.mark.parametrize(
    ("hops", "address"),
    [
        (["192.0.2.7, 10.0.0.1"], "192.0.2.7"),
        (["198.51.100.1, 192.0.2.7, 10.0.0.1"], "192.0.2.7"),
        (["198.51.100.1", "192.0.2.7, 10.0.0.1"], "192.0.2.7"),
        (["198.51.100.1", "192.0.2.7", "10.0.0.1"], "192.0.2.7"),
        (["2001:db8::7,10.0.0.1"], "2001:db8::7"),
        (["192.0.2.7"], None),
        ([], None),
    ],
)
def test_the_address_is_the_one_that_cloudfront_added(hops: list[str], address: str | None) -> None:
    assert client(*(("x-forwarded-for", hop) for hop in hops)).address == address


@given(forged=st.lists(st.text("0123456789abcdef.:, ", max_size=20), max_size=4))
def test_nothing_that_a_client_sends_changes_its_address(forged: list[str]) -> None:
    headers = [("x-forwarded-for", text) for text in forged]
    assert client(*headers, ("x-forwarded-for", "192.0.2.7, 10.0.0.1")).address == "192.0.2.7"


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ([("origin", "https://www.example.com")], "www.example.com"),
        ([("origin", "https://WWW.Example.com:8443")], "www.example.com"),
        ([("referer", "https://example.com./a?b#c")], "example.com"),
        ([("origin", "https://a.example"), ("referer", "https://b.example/")], "a.example"),
        ([("origin", "null"), ("referer", "https://b.example/")], None),
        ([("referer", "https://user@evil.example/example.com")], "evil.example"),
        ([("referer", "example.com")], None),
        ([("referer", "https://[")], None),
        ([("referer", f"https://{'a' * 254}/")], None),
        ([], None),
    ],
)
def test_the_referrer_is_the_host_of_origin_or_else_of_referer(
    headers: list[tuple[str, str]], host: str | None
) -> None:
    assert client(*headers).referrer == host


@pytest.mark.parametrize(
    ("pattern", "host", "admitted"),
    [
        ("example.com", "example.com", True),
        ("example.com", "www.example.com", False),
        ("example.com", "example.com.evil.example", False),
        ("*.example.com", "www.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "evilexample.com", False),
        ("example.com", None, False),
    ],
)
def test_which_hosts_a_pattern_names(pattern: str, host: str | None, *, admitted: bool) -> None:
    rules = PlaybackRules(referrers=("other.example", pattern))
    if admitted:
        assert admit(VIDEO, rules, Client(None, host)) is None
        return
    with pytest.raises(Problem, match=host or "no page") as refused:
        admit(VIDEO, rules, Client(None, host))
    assert (refused.value.kind.slug, refused.value.members) == (
        "playback-restricted",
        {"rule": "referrers"},
    )
    assert "other.example" not in refused.value.detail


@given(host=HOSTS, patterns=st.lists(PATTERNS, max_size=4))
def test_a_host_is_named_by_itself_and_by_what_is_above_it(host: str, patterns: list[str]) -> None:
    labels = host.split(".")
    above = {".".join(labels[at:]) for at in range(1, len(labels))}
    named = any(p == host or (p.startswith("*.") and p[2:] in above) for p in patterns)
    rules = PlaybackRules(referrers=(*patterns, "nobody.invalid"))
    try:
        admit(VIDEO, rules, Client(None, host))
    except Problem:
        assert not named
    else:
        assert named


@given(networks=st.lists(NETWORKS, min_size=1, max_size=4), number=st.integers(0, 2**32 - 1))
def test_the_first_range_with_the_address_is_signed(
    networks: list[ipaddress.IPv4Network], number: int
) -> None:
    address = ipaddress.IPv4Address(number)
    rules = PlaybackRules(ipv4_ranges=tuple(map(str, networks)))
    found = [str(network) for network in networks if address in network]
    if found:
        assert admit(VIDEO, rules, Client(str(address), None)) == found[0]
        return
    with pytest.raises(Problem) as refused:
        admit(VIDEO, rules, Client(str(address), None))
    assert refused.value.members == {"rule": "ipv4_ranges"}
    assert str(address) in refused.value.detail


@pytest.mark.parametrize("address", ["2001:db8::7", "::ffff:192.0.2.7", "x", "", None])
def test_no_other_address_lies_in_a_range_of_ipv4(address: str | None) -> None:
    assert not is_within(address, "0.0.0.0/0")
    with pytest.raises(Problem, match="over IPv4") as refused:
        admit(VIDEO, PlaybackRules(ipv4_ranges=("0.0.0.0/0",)), Client(address, None))
    over_ipv6 = address is not None and ":" in address
    assert ("came over IPv6" in refused.value.detail) is over_ipv6


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("referrers", ["Example.com"], "'Example.com' is not a host in lower case"),
        ("referrers", ["https://example.com"], "write the host of the page alone"),
        ("referrers", ["example.com:443"], "write the host of the page alone"),
        ("referrers", ["*"], "write the host of the page alone"),
        ("referrers", ["a.*.example.com"], "write the host of the page alone"),
        ("referrers", ["bücher.example"], "xn--"),
        ("referrers", ["a" * 64], "is not a host"),
        ("referrers", [".".join(["a" * 50] * 6)], "is not a host"),
        ("referrers", ["example.com\n"], "is not a host"),
        ("referrers", ["a.example"] * 33, "at most 32"),
        ("ipv4_ranges", ["192.0.2.7/24"], "write 192.0.2.0/24"),
        ("ipv4_ranges", ["192.0.2.7"], "write 192.0.2.7/32"),
        ("ipv4_ranges", ["192.0.2.0/255.255.255.0"], "write 192.0.2.0/24"),
        ("ipv4_ranges", ["2001:db8::/32"], "compares IPv4 addresses only"),
        ("ipv4_ranges", ["192.0.2.0/33"], "is not an IPv4 range"),
        ("ipv4_ranges", ["192.0.2.0/24"] * 33, "at most 32"),
        ("max_seconds", 59, "greater than or equal to 60"),
        ("max_seconds", LONGEST_SECONDS + 1, "less than or equal to 604800"),
        ("max_seconds", "60", "valid integer"),
        ("more", 1, "Extra inputs"),
    ],
)
def test_rules_that_cannot_be_held_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        RulesBody.model_validate({field: value})
    assert message in str(refused.value)


@given(
    hosts=st.lists(HOSTS, max_size=3),
    networks=st.lists(NETWORKS, max_size=3),
    longest=st.none() | st.integers(60, LONGEST_SECONDS),
)
def test_rules_come_back_as_they_were_set(
    hosts: list[str], networks: list[ipaddress.IPv4Network], longest: int | None
) -> None:
    ranges = [str(network) for network in networks]
    body = {"referrers": hosts, "ipv4_ranges": ranges, "max_seconds": longest}
    rules = RulesBody.model_validate(body).to_rules()
    if not hosts and not networks and longest is None:
        assert rules is None
        return
    found = RulesBody.of(rules)
    assert found is not None
    assert found.model_dump() == {
        "referrers": list(dict.fromkeys(hosts)),
        "ipv4_ranges": list(dict.fromkeys(ranges)),
        "max_seconds": longest,
    }
