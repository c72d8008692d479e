"""Where webhooks may be sent, and what keeps their items and secrets together."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_platform.contract import webhooks
from media_platform.contract.ids import new_id
from media_platform.contract.times import timestamp
from media_platform.contract.webhook_urls import (
    RefusedUrlError,
    check_addresses,
    is_public,
    join_networks,
    parse_networks,
    parse_url,
)
from media_platform.contract.webhooks import (
    Attempt,
    Delivery,
    DeliveryStatus,
    Secret,
    Webhook,
    sign,
)

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
LOOPBACK = parse_networks("127.0.0.0/8,fd00::/8")


def an_endpoint() -> Webhook:
    return Webhook(
        webhook_id=new_id(),
        tenant="acme",
        url="https://example.com/",
        created_at=timestamp(NOW),
        created_by="root",
        updated_at=timestamp(NOW),
        enabled_at=timestamp(NOW),
        secrets=(Secret.new(),),
    )


def a_delivery(webhook: Webhook) -> Delivery:
    return Delivery.new(
        webhook,
        event_id=new_id(),
        event_type="VideoReady",
        event="{}",
        region="eu-central-1",
        now=NOW,
        due_at=NOW,
    )


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://example.com", "example.com", 443, "/"),
        ("https://EXAMPLE.com/a?b=c", "example.com", 443, "/a?b=c"),
        ("https://example.com:8443/x", "example.com", 8443, "/x"),
        ("https://8.8.8.8/x", "8.8.8.8", 443, "/x"),
        ("https://[2606:4700::1111]:1024/", "2606:4700::1111", 1024, "/"),
        ("https://xn--bcher-kva.example/%C3%BC", "xn--bcher-kva.example", 443, "/%C3%BC"),
    ],
)
def test_urls_that_are_taken(url: str, host: str, port: int, path: str) -> None:
    target = parse_url(url)
    assert (target.host, target.port, target.path) == (host, port, path)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/", "no https"),
        ("ftp://example.com/", "no https"),
        ("https://", "no https"),
        ("example.com", "no https"),
        ("https://user@example.com/", "user or a password"),
        ("https://user:pw@example.com/", "user or a password"),
        ("https://@example.com/", "user or a password"),
        ("https://example.com/#a", "fragment"),
        ("https://example.com/#", "fragment"),
        ("https://example.com:80/", "port is 80"),
        ("https://example.com:22/", "port is 22"),
        ("https://example.com:1023/", "port is 1023"),
        ("https://example.com:0/", "port is 0"),
        ("https://example.com:65536/", "no URL"),
        ("https://example.com:x/", "no URL"),
        ("https://exa mple.com/", "characters"),
        ("https://example.com/\r\nHost:x", "characters"),
        ("https://bücher.example/", "characters"),
        ("https://example.com\\@evil.example/", "characters"),
        ("https://example.com/" + "a" * 2048, "2068 characters"),
        ("https://127.1/", "neither a name"),
        ("https://0x7f.1/", "neither a name"),
        ("https://2130706433/", "neither a name"),
        ("https://127.0.0.0x1/", "neither a name"),
        ("https://example..com/", "neither a name"),
        ("https://example.com./", "neither a name"),
        ("https://-a.example/", "neither a name"),
        ("https://127.0.0.1/", "not a public address"),
        ("https://10.1.2.3/", "not a public address"),
        ("https://169.254.169.254/", "not a public address"),
        ("https://[::1]/", "not a public address"),
        ("https://[::ffff:8.8.8.8]/", "not a public address"),
        ("https://[fe80::1%25eth0]/", "not a public address"),
    ],
)
def test_urls_that_are_refused(url: str, why: str) -> None:
    with pytest.raises(RefusedUrlError, match=why):
        parse_url(url)


def test_http_is_for_the_allowed_networks_alone() -> None:
    assert parse_url("http://127.0.0.1:8080/x", LOOPBACK).scheme == "http"
    named = parse_url("http://localhost:8080/x", LOOPBACK)
    check_addresses(named, [ipaddress.ip_address("127.0.0.1")], LOOPBACK)
    with pytest.raises(RefusedUrlError, match="no https"):
        check_addresses(named, [ipaddress.ip_address("8.8.8.8")], LOOPBACK)
    for url in ("http://8.8.8.8:8080/", "http://8.8.8.8:443/"):
        with pytest.raises(RefusedUrlError, match="no https"):
            parse_url(url, LOOPBACK)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "172.31.255.255",
        "192.0.0.170",
        "192.88.99.1",
        "192.168.1.1",
        "198.19.0.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::8.8.8.8",
        "::ffff:8.8.8.8",
        "::ffff:0:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "2001::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:808:808::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "100.63.255.255", "172.32.0.1", "2606:4700::1", "2001:200::1"]
)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses())
def test_what_python_does_not_call_global_is_never_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert not is_public(address) or (address.is_global and not address.is_multicast)


def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    target = parse_url("https://example.com/")
    addresses = [ipaddress.ip_address(text) for text in ("8.8.8.8", "10.0.0.1")]
    check_addresses(target, addresses[:1])
    with pytest.raises(RefusedUrlError, match=r"example\.com leads to 10\.0\.0\.1"):
        check_addresses(target, addresses)


@pytest.mark.parametrize("networks", [[], ["127.0.0.0/8"], ["127.0.0.0/8", "fd00::/8"]])
def test_networks_are_read_as_they_were_written(networks: list[str]) -> None:
    assert [str(network) for network in parse_networks(join_networks(networks))] == networks


def test_an_endpoint_is_read_as_it_was_written() -> None:
    webhook = an_endpoint().with_new_secret(NOW)
    assert Webhook.from_item(webhook.to_item()) == webhook


def test_secrets_are_not_shown_by_accident() -> None:
    webhook = an_endpoint()
    assert webhook.secrets[0].value not in repr(webhook) + repr(webhook.secrets)


def test_a_replaced_secret_signs_for_a_day() -> None:
    first = an_endpoint()
    second = first.with_new_secret(NOW)
    (old,) = first.secrets
    assert [s.value for s in second.valid_secrets(NOW)] == [second.secrets[0].value, old.value]
    assert second.secrets[0].value != old.value
    day = timedelta(hours=24)
    assert len(second.valid_secrets(NOW + day - timedelta(milliseconds=1))) == 2
    assert second.valid_secrets(NOW + day) == second.secrets[:1]
    third = second.with_new_secret(NOW + timedelta(hours=1))
    assert third.secrets[2] == second.secrets[1], "its time is not begun anew"
    assert len(third.with_new_secret(NOW + timedelta(hours=2)).secrets) == webhooks.MAX_SECRETS
    assert len(third.with_new_secret(NOW + 2 * day).secrets) == 2


def test_there_is_one_signature_for_every_secret() -> None:
    webhook = an_endpoint().with_new_secret(NOW)
    time, *signatures = sign(b"{}", webhook.valid_secrets(NOW), NOW).split(",")
    assert time == f"t={int(NOW.timestamp())}"
    assert len(set(signatures)) == 2
    assert sign(b"{}", webhook.secrets[1:], NOW).endswith(signatures[1])


def test_an_endpoint_gets_the_types_it_asked_for() -> None:
    webhook = an_endpoint()
    chosen = Webhook(**{**vars(webhook), "event_types": ("VideoReady",)})
    disabled = Webhook(**{**vars(webhook), "enabled": False})
    assert webhook.wants("VideoReady")
    assert webhook.wants("VideoFailed")
    assert chosen.wants("VideoReady")
    assert not chosen.wants("VideoFailed")
    assert not disabled.wants("VideoReady")


def test_a_delivery_is_read_as_it_was_written() -> None:
    delivery = a_delivery(an_endpoint())
    attempt = Attempt(number=1, started_at=timestamp(NOW), milliseconds=7, error="no answer")
    for one in (
        delivery,
        Delivery(**{**vars(delivery), "attempts": (attempt,), "attempt_count": 1}),
        delivery.ended(DeliveryStatus.FAILED, "why"),
    ):
        assert Delivery.from_item(one.to_item()) == one


def test_only_pending_deliveries_are_due() -> None:
    delivery = a_delivery(an_endpoint())
    assert {"due_key", "due_at"} <= delivery.to_item().keys()
    for status in (DeliveryStatus.DELIVERED, DeliveryStatus.FAILED):
        item = delivery.ended(status).to_item()
        assert not {"due_key", "due_at", "next_attempt_at"} & item.keys()
        assert item["delivery_status_key"]["S"].endswith(f"#STATUS#{status}")
