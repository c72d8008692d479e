"""Signatures, verified against Amazon's signer and OpenSSL, and against everything wrong."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from plane_keys import AmazonSigner, pem_of, public_pem_of

from media_platform.contract import playback
from mediactl.local.edge.signatures import (
    DeniedError,
    PublicKey,
    Viewer,
    authorize,
    load_public_key,
)
from tests.unit import node_openssl

HOST = "http://127.0.0.1:4000"
RUN = "/media/us-east-1/demo/video/run"
CHILD = f"{HOST}{RUN}/v360/000001.m4s"
KEY_ID = "K2JCJMDEHXQW5F"
NOW = 1_800_000_000
LATER = NOW + 600


def iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def policy(resource: str = f"{HOST}{RUN}/*", **conditions: object) -> str:
    condition = {"DateLessThan": {"AWS:EpochTime": LATER}, **conditions}
    return json.dumps({"Statement": [{"Resource": resource, "Condition": condition}]})


def ours(key: ec.EllipticCurvePrivateKey, text: str, *, key_id: str = KEY_ID) -> dict[str, str]:
    """Sign as the API does, with the names of the contract."""
    signature = key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
    return {
        playback.QUERY.policy: playback.encode(text.encode()),
        playback.QUERY.signature: playback.encode(signature),
        playback.QUERY.key_pair_id: key_id,
        playback.QUERY.hash_algorithm: playback.HASH_ALGORITHM,
    }


def by_query(parts: dict[str, str], url: str = CHILD, *, address: str = "127.0.0.1") -> Viewer:
    query = "&".join(f"{name}={value}" for name, value in parts.items())
    return Viewer(url=url, address=address, query=query, cookies={})


def by_cookies(parts: dict[str, str], url: str = CHILD) -> Viewer:
    cookies = {
        name if name.startswith("CloudFront-") else f"CloudFront-{name}": value
        for name, value in parts.items()
    }
    return Viewer(url=url, address="127.0.0.1", query="", cookies=cookies)


@pytest.fixture
def keys(key: ec.EllipticCurvePrivateKey) -> dict[str, PublicKey]:
    return {KEY_ID: load_public_key(public_pem_of(key))}


def denied(viewer: Viewer, keys: dict[str, PublicKey], *, now: float = NOW) -> str:
    with pytest.raises(DeniedError) as caught:
        authorize(viewer, keys, now=now)
    return caught.value.code


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
@pytest.mark.parametrize("algorithm", ["SHA256", "SHA1"])
def test_admits_urls_that_amazons_signer_signed(
    amazon_signer: AmazonSigner,
    key: ec.EllipticCurvePrivateKey,
    rsa_key: rsa.RSAPrivateKey,
    kind: str,
    algorithm: str,
) -> None:
    private = key if kind == "ecdsa" else rsa_key
    signed = amazon_signer(
        "url",
        {
            "url": CHILD,
            "policy": policy(),
            "keyPairId": KEY_ID,
            "privateKey": pem_of(private),
            "algorithm": algorithm,
        },
    )
    viewer = Viewer(url=CHILD, address="127.0.0.1", query=urlsplit(signed).query, cookies={})
    keys = {KEY_ID: load_public_key(public_pem_of(private))}
    authorize(viewer, keys, now=NOW)
    assert denied(viewer, keys, now=LATER) == "AccessDenied"


def test_admits_cookies_that_amazons_signer_signed(
    amazon_signer: AmazonSigner, key: ec.EllipticCurvePrivateKey, keys: dict[str, PublicKey]
) -> None:
    cookies = amazon_signer(
        "cookies",
        {
            "policy": policy(),
            "keyPairId": KEY_ID,
            "privateKey": pem_of(key),
            "algorithm": "SHA256",
        },
    )
    authorize(by_cookies(cookies), keys, now=NOW)
    assert denied(by_cookies(cookies, CHILD.replace("/run/", "/other/")), keys) == "AccessDenied"


def test_admits_a_canned_policy_of_amazons_signer_for_its_url_only(
    amazon_signer: AmazonSigner, key: ec.EllipticCurvePrivateKey, keys: dict[str, PublicKey]
) -> None:
    url = f"{CHILD}?part=1"
    signed = amazon_signer(
        "url",
        {
            "url": url,
            "dateLessThan": iso(LATER),
            "keyPairId": KEY_ID,
            "privateKey": pem_of(key),
            "algorithm": "SHA256",
        },
    )
    query = urlsplit(signed).query
    assert "Expires=" in query
    viewer = Viewer(url=url, address="127.0.0.1", query=query, cookies={})
    authorize(viewer, keys, now=NOW)
    assert denied(replace(viewer, url=CHILD), keys) == "AccessDenied"
    assert denied(viewer, keys, now=LATER) == "AccessDenied"
    longer = query.replace(f"Expires={LATER}", f"Expires={LATER + 1}")
    assert denied(replace(viewer, query=longer), keys) == "AccessDenied"


def test_admits_a_signature_of_openssl() -> None:
    text = policy().encode()
    signature, public = node_openssl.sign_with_new_key(text)
    parts = {
        "Policy": playback.encode(text),
        "Signature": playback.encode(signature),
        "Key-Pair-Id": KEY_ID,
        "Hash-Algorithm": "SHA256",
    }
    authorize(by_query(parts), {KEY_ID: load_public_key(public)}, now=NOW)


def test_one_signature_covers_all_children_of_a_run_and_nothing_else(
    key: ec.EllipticCurvePrivateKey, keys: dict[str, PublicKey]
) -> None:
    parts = ours(key, playback.policy_text(f"{HOST}{RUN}/*", LATER))
    for child in ("/master.m3u8", "/v1080/1/init.mp4", "/audio/playlist.m3u8"):
        authorize(by_query(parts, f"{HOST}{RUN}{child}"), keys, now=NOW)
        authorize(by_cookies(parts, f"{HOST}{RUN}{child}"), keys, now=NOW)
    for other in (
        f"{HOST}{RUN}2/master.m3u8",
        f"{HOST}/media/us-east-1/other/video/run/master.m3u8",
        f"http://127.0.0.1:4001{RUN}/master.m3u8",
        f"https://127.0.0.1:4000{RUN}/master.m3u8",
        f"{HOST}{RUN}",
        f"{HOST}{RUN.upper()}/master.m3u8",
    ):
        assert denied(by_query(parts, other), keys) == "AccessDenied"


@pytest.mark.parametrize(
    "path",
    [
        f"{RUN}/../other/master.m3u8",
        f"{RUN}/./../other/master.m3u8",
        f"{RUN}/%2e%2e/other/master.m3u8",
        f"{RUN}/%2E%2e/other/master.m3u8",
        f"{RUN}/v360/../../other/master.m3u8",
        f"{RUN}//../../other/master.m3u8",
    ],
)
def test_dot_segments_do_not_leave_the_run(
    key: ec.EllipticCurvePrivateKey, keys: dict[str, PublicKey], path: str
) -> None:
    parts = ours(key, policy())
    assert denied(by_query(parts, f"{HOST}{path}"), keys) == "AccessDenied"


@pytest.mark.parametrize("change", ["Policy", "Signature"])
def test_refuses_what_was_changed(
    key: ec.EllipticCurvePrivateKey, keys: dict[str, PublicKey], change: str
) -> None:
    parts = ours(key, policy())
    raw = bytearray(playback.decode(parts[change]))
    raw[len(raw) // 2] ^= 1
    changed = {**parts, change: playback.encode(bytes(raw))}
    assert denied(by_query(changed), keys) in {"AccessDenied", "MalformedPolicy"}
    assert denied(by_cookies(changed), keys) in {"AccessDenied", "MalformedPolicy"}


def test_refuses_a_longer_life_under_the_old_signature(
    key: ec.EllipticCurvePrivateKey, keys: dict[str, PublicKey]
) -> None:
    parts = ours(key, policy())
    longer = policy().replace(str(LATER), str(LATER + 3600))
    assert (
        denied(by_query({**parts, "Policy": playback.encode(longer.encode())}), keys)
        == "AccessDenied"
    )


def test_refuses_foreign_and_unknown_keys(keys: dict[str, PublicKey]) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    assert denied(by_query(ours(stranger, policy())), keys) == "AccessDenied"
    assert denied(by_query(ours(stranger, policy(), key_id="KOTHER")), keys) == "InvalidKey"


def test_refuses_a_hash_that_was_not_signed(
    key: ec.EllipticCurvePrivateKey, keys: dict[str, PublicKey]
) -> None:
    parts = ours(key, policy())
    del parts["Hash-Algorithm"]
    assert denied(by_query(parts), keys) == "AccessDenied"
    assert denied(by_query({**parts, "Hash-Algorithm": "MD5"}), keys) == "AccessDenied"


@pytest.mark.parametrize("missing", ["Policy", "Signature"])
def test_refuses_incomplete_signatures(
    key: ec.EllipticCurvePrivateKey, keys: dict[str, PublicKey], missing: str
) -> None:
    parts = ours(key, policy())
    del parts[missing]
    assert denied(by_query(parts), keys) == "AccessDenied"


def test_asks_for_a_key_when_nothing_is_signed(keys: dict[str, PublicKey]) -> None:
    assert denied(by_query({}), keys) == "MissingKey"


def test_a_signed_url_counts_before_cookies(
    key: ec.EllipticCurvePrivateKey, keys: dict[str, PublicKey]
) -> None:
    good = by_cookies(ours(key, policy()))
    authorize(good, keys, now=NOW)
    wrong = by_query(ours(key, policy(f"{HOST}/media/elsewhere/*")))
    assert denied(replace(good, query=wrong.query), keys) == "AccessDenied"


def test_conditions_on_time_and_address(
    key: ec.EllipticCurvePrivateKey, keys: dict[str, PublicKey]
) -> None:
    late = by_query(ours(key, policy(DateGreaterThan={"AWS:EpochTime": NOW + 60})))
    assert denied(late, keys) == "AccessDenied"
    authorize(late, keys, now=NOW + 61)
    near = ours(key, policy(IpAddress={"AWS:SourceIp": "192.0.2.0/24"}))
    authorize(by_query(near, address="192.0.2.7"), keys, now=NOW)
    assert denied(by_query(near, address="198.51.100.7"), keys) == "AccessDenied"
    assert denied(by_query(near, address="2001:db8::7"), keys) == "AccessDenied"
    sixth = ours(key, policy(IpAddress={"AWS:SourceIp": "2001:db8::/32"}))
    assert denied(by_query(sixth, address="2001:db8::7"), keys) == "MalformedPolicy"


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"Statement": []}',
        '{"Statement": [{"Resource": "*"}]}',
        '{"Statement": [{"Resource": "*", "Condition": {"DateLessThan": {}}}]}',
        '{"Statement": [{"Resource": "*", "Condition": {"DateLessThan": {"AWS:EpochTime": ""}}}]}',
    ],
)
def test_refuses_malformed_policies(
    key: ec.EllipticCurvePrivateKey, keys: dict[str, PublicKey], text: str
) -> None:
    assert denied(by_query(ours(key, text)), keys) == "MalformedPolicy"


def test_refuses_a_policy_of_two_statements(
    key: ec.EllipticCurvePrivateKey, keys: dict[str, PublicKey]
) -> None:
    one = json.loads(policy())["Statement"][0]
    text = json.dumps({"Statement": [one, {**one, "Resource": "*"}]})
    assert denied(by_query(ours(key, text)), keys) == "MalformedPolicy"


def test_refuses_text_outside_the_alphabet(
    key: ec.EllipticCurvePrivateKey, keys: dict[str, PublicKey]
) -> None:
    parts = ours(key, policy())
    assert denied(by_query({**parts, "Signature": "$$$"}), keys) == "MalformedPolicy"


def test_takes_only_keys_that_cloudfront_takes() -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(ValueError, match="P-256"):
        load_public_key(public_pem_of(other))


def test_the_clock_that_serves_is_the_wall_clock(
    key: ec.EllipticCurvePrivateKey, keys: dict[str, PublicKey]
) -> None:
    soon = ours(key, playback.policy_text(f"{HOST}{RUN}/*", int(time.time()) + 60))
    authorize(by_query(soon), keys, now=time.time())
