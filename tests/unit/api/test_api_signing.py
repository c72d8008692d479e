from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import assume, given
from hypothesis import strategies as st

from media_api.signing import (
    Grant,
    PlaybackSigner,
    SignatureRefusedError,
    expiry,
    read_parameters,
)
from media_platform.contract import playback
from media_platform.contract.delivery import SigningKeyPair
from media_platform.contract.ids import new_id
from media_platform.contract.object_keys import RunKeys
from tests.unit import node_openssl
from tests.unit.api.api_keys import new_pair
from tests.unit.api.api_process import ROOT

BASE_URL = "https://d111111abcdef8.cloudfront.net"
NOW = 1_790_000_000
EXPIRES = NOW + 600


@pytest.fixture(scope="module")
def signer(pair: SigningKeyPair) -> PlaybackSigner:
    return PlaybackSigner(pair, key_pair_id="K2JCJMDEHXQW5F", base_url=BASE_URL)


@pytest.fixture(scope="module")
def keys() -> RunKeys:
    return RunKeys("eu-central-1", "acme", new_id(), new_id())


@pytest.fixture(scope="module")
def grant(signer: PlaybackSigner, keys: RunKeys) -> Grant:
    return signer.grant(keys, EXPIRES)


def test_equal_requests_get_equal_signatures_from_every_task(
    pair: SigningKeyPair, keys: RunKeys, grant: Grant
) -> None:
    other_task = PlaybackSigner(pair, key_pair_id=grant.key_pair_id, base_url=BASE_URL)
    assert other_task.grant(keys, EXPIRES) == grant


def test_a_grant_covers_its_run_and_nothing_else(grant: Grant, keys: RunKeys) -> None:
    statement = json.loads(playback.decode(grant.policy))["Statement"]
    assert statement == [
        {
            "Resource": f"{BASE_URL}/{keys.prefix}*",
            "Condition": {"DateLessThan": {"AWS:EpochTime": EXPIRES}},
        }
    ]


def test_a_grant_may_admit_a_range_of_addresses_only(
    signer: PlaybackSigner, grant: Grant, keys: RunKeys
) -> None:
    near = signer.grant(keys, EXPIRES, "192.0.2.0/24")
    (statement,) = json.loads(playback.decode(near.policy))["Statement"]
    assert statement["Condition"]["IpAddress"] == {"AWS:SourceIp": "192.0.2.0/24"}
    found = signer.verify(near.policy, near.signature, now=NOW, address="192.0.2.7")
    assert found == near
    for address in ("198.51.100.7", "2001:db8::7", "192.0.2.7:443", None):
        with pytest.raises(SignatureRefusedError, match="for other addresses"):
            signer.verify(near.policy, near.signature, now=NOW, address=address)
        assert signer.verify(grant.policy, grant.signature, now=NOW, address=address) == grant


def test_own_grants_are_accepted_until_they_end(
    signer: PlaybackSigner, grant: Grant, keys: RunKeys
) -> None:
    assert signer.verify(grant.policy, grant.signature, now=EXPIRES - 1).keys == keys
    with pytest.raises(SignatureRefusedError, match="expired"):
        signer.verify(grant.policy, grant.signature, now=EXPIRES)


@given(st.data())
def test_a_changed_policy_or_signature_is_refused(
    signer: PlaybackSigner, grant: Grant, data: st.DataObject
) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-~_"
    parts = [grant.policy, grant.signature]
    which = data.draw(st.integers(0, 1))
    position = data.draw(st.integers(0, len(parts[which]) - 1))
    character = data.draw(st.sampled_from(alphabet))
    changed = parts[which][:position] + character + parts[which][position + 1 :]
    assume(changed != parts[which])
    parts[which] = changed
    with pytest.raises(SignatureRefusedError):
        signer.verify(parts[0], parts[1], now=NOW)


def test_another_key_is_refused(grant: Grant) -> None:
    other = PlaybackSigner(new_pair(), key_pair_id="K", base_url=BASE_URL)
    with pytest.raises(SignatureRefusedError, match="wrong"):
        other.verify(grant.policy, grant.signature, now=NOW)


@pytest.mark.parametrize(
    "text",
    [
        playback.policy_text(f"{BASE_URL}/*", EXPIRES),
        playback.policy_text(f"{BASE_URL}/media/*", EXPIRES),
        playback.policy_text(f"{BASE_URL}/media/*", EXPIRES, "192.0.2.0/24"),
        playback.policy_text("https://other.example/media/a/b/c/d/*", EXPIRES),
        playback.policy_text(f"{BASE_URL}/media/eu-central-1/acme/x/y/*", EXPIRES),
        '{"Statement":[]}',
        "[]",
        "not json",
    ],
)
def test_a_right_signature_of_another_policy_is_refused(
    pair: SigningKeyPair, signer: PlaybackSigner, text: str
) -> None:
    signature = _raw_signature(pair, text.encode())
    with pytest.raises(SignatureRefusedError, match="not one of this platform"):
        signer.verify(playback.encode(text.encode()), playback.encode(signature), now=NOW)


def _raw_signature(pair: SigningKeyPair, text: bytes) -> bytes:
    key = load_pem_private_key(pair.private_key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.sign(text, ec.ECDSA(SHA256()))


def test_openssl_accepts_the_signature(grant: Grant, pair: SigningKeyPair) -> None:
    text, signature = playback.decode(grant.policy), playback.decode(grant.signature)
    assert node_openssl.verifies(text, signature, pair.public_key)
    assert not node_openssl.verifies(text + b" ", signature, pair.public_key)


def test_the_policy_is_the_one_that_botocore_writes(grant: Grant, keys: RunKeys) -> None:
    theirs = CloudFrontSigner("K", lambda message: message).build_policy(
        f"{BASE_URL}/{keys.prefix}*", dt.datetime.fromtimestamp(EXPIRES, dt.UTC)
    )
    # botocore writes a canned policy, without the address condition, when asked for nothing more.
    assert json.loads(theirs) == json.loads(playback.decode(grant.policy))
    assert theirs.replace(" ", "").encode() == playback.decode(grant.policy)


def test_the_policy_of_a_range_is_the_one_that_botocore_writes(
    signer: PlaybackSigner, keys: RunKeys
) -> None:
    theirs = CloudFrontSigner("K", lambda message: message).build_policy(
        f"{BASE_URL}/{keys.prefix}*",
        dt.datetime.fromtimestamp(EXPIRES, dt.UTC),
        ip_address="192.0.2.0/24",
    )
    ours = playback.decode(signer.grant(keys, EXPIRES, "192.0.2.0/24").policy)
    assert json.loads(theirs) == json.loads(ours)


SIGN_WITH_NPM = """
const { getSignedUrl } = require("@aws-sdk/cloudfront-signer");
const [policy, url, keyPairId, privateKey] = JSON.parse(require("fs").readFileSync(0));
console.log(getSignedUrl({ url, policy, keyPairId, privateKey, algorithm: "SHA256" }));
"""


def test_what_the_npm_signer_signs_is_accepted_here(
    signer: PlaybackSigner, pair: SigningKeyPair, grant: Grant, keys: RunKeys
) -> None:
    node = shutil.which("node")
    assert node, "these tests need node; install it"
    policy = playback.decode(grant.policy).decode()
    url = f"{BASE_URL}/{keys.master_playlist}"
    signed = subprocess.run(
        [node, "-e", SIGN_WITH_NPM],
        cwd=ROOT,
        input=json.dumps([policy, url, grant.key_pair_id, pair.private_key]),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    split = urlsplit(signed)
    theirs = parse_qs(split.query)
    assert signed.partition("?")[0] == url
    assert theirs.keys() == parse_qs(grant.query).keys()
    their_policy, their_signature, key_pair_id = read_parameters(theirs)
    assert (their_policy, key_pair_id) == (grant.policy, grant.key_pair_id)
    assert signer.verify(their_policy, their_signature, now=NOW).keys == keys


def test_urls_and_cookies_carry_the_same_grant(grant: Grant, keys: RunKeys) -> None:
    query = {name: values[0] for name, values in parse_qs(grant.query).items()}
    assert {f"CloudFront-{name}": value for name, value in query.items()} == grant.cookies
    assert grant.url(keys.poster) == f"{BASE_URL}/{keys.prefix}poster.jpg?{grant.query}"


@given(st.integers(0, 2**40), st.integers(1, 7 * 86400))
def test_expiry_is_the_lifetime_and_at_most_a_quarter(now: int, lifetime: int) -> None:
    assert lifetime <= expiry(now, lifetime) - now <= lifetime * 1.25 + 1


@given(st.integers(0, 2**33), st.integers(1, 10**6), st.integers(60, 10**6))
def test_expiry_is_never_later_than_a_rule_allows(now: int, lifetime: int, longest: int) -> None:
    given_seconds = expiry(now, lifetime, longest) - now
    assert given_seconds <= longest
    assert given_seconds >= min(lifetime, longest * 4 // 5)


@given(
    st.integers(0, 2**33),
    st.floats(0, 1, exclude_max=True),
    st.integers(60, 10**6),
    st.none() | st.integers(60, 10**6),
    st.none() | st.sampled_from(["192.0.2.0/24", "0.0.0.0/0"]),
)
def test_grants_are_equal_within_a_slot_from_every_task_to_everyone(
    pair: SigningKeyPair,
    keys: RunKeys,
    slot: int,
    at: float,
    lifetime: int,
    longest: int | None,
    source_range: str | None,
) -> None:
    tasks = [PlaybackSigner(pair, key_pair_id="K", base_url=BASE_URL) for _ in range(2)]
    end = expiry(slot, lifetime, longest)
    # The next moment at which the expiry differs ends the slot; bisected, as no width is assumed.
    low, high = slot, slot + lifetime + 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if expiry(middle, lifetime, longest) == end else (low, middle)
    other = slot + at * (low - slot)
    first, second = (
        task.grant(keys, expiry(now, lifetime, longest), source_range)
        for task, now in zip(tasks, (slot, other), strict=True)
    )
    assert (first, first.query, first.cookies) == (second, second.query, second.cookies)


def test_expiry_stays_the_same_within_a_slot() -> None:
    assert {expiry(1_000_000 + second, 400) for second in range(1, 101)} == {1_000_500}


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"Policy": ["a"], "Signature": ["b"], "Key-Pair-Id": ["c"]},
        {
            "Policy": ["a", "a"],
            "Signature": ["b"],
            "Key-Pair-Id": ["c"],
            "Hash-Algorithm": ["SHA256"],
        },
        {"Policy": ["a"], "Signature": ["b"], "Key-Pair-Id": ["c"], "Hash-Algorithm": ["SHA1"]},
    ],
)
def test_incomplete_or_doubled_parameters_are_refused(parameters: dict[str, list[str]]) -> None:
    with pytest.raises(SignatureRefusedError):
        read_parameters(parameters)


def test_a_key_of_another_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="not an ECDSA P-256 key"):
        PlaybackSigner(new_pair(ec.SECP384R1()), key_pair_id="K", base_url=BASE_URL)


def test_halves_that_do_not_belong_together_are_refused(pair: SigningKeyPair) -> None:
    mixed = SigningKeyPair(private_key=pair.private_key, public_key=new_pair().public_key)
    with pytest.raises(ValueError, match="do not belong together"):
        PlaybackSigner(mixed, key_pair_id="K", base_url=BASE_URL)


def test_an_unreadable_key_is_not_repeated() -> None:
    secret = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----"
    with pytest.raises(ValueError, match="cannot be read") as caught:
        PlaybackSigner(
            SigningKeyPair(private_key=secret, public_key=""), key_pair_id="K", base_url=BASE_URL
        )
    assert "secret" not in str(caught.value)
