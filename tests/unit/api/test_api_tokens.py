from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from media_api.tokens import (
    COLD_RETRY_SECONDS,
    LEEWAY_SECONDS,
    REFRESH_SECONDS,
    RETRY_SECONDS,
    Caller,
    InvalidTokenError,
    KeySet,
    KeysUnavailableError,
    NoTenantError,
    TokenVerifier,
    fetch_with,
)
from tests.unit.api.api_issuer import CLIENT, ISSUER, Issuer

pytestmark = pytest.mark.anyio


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def verifier(issuer: Issuer, clock: Clock) -> AsyncIterator[TokenVerifier]:
    async with aiohttp.ClientSession() as http:
        keys = KeySet(fetch_with(http, issuer.url), clock=clock)
        yield TokenVerifier(keys, issuer=ISSUER, client_id=CLIENT, clock=clock)


async def test_a_good_token_names_its_caller(issuer: Issuer, verifier: TokenVerifier) -> None:
    token = issuer.user("user-1", "acme", "editor", "viewer")
    caller = await verifier.verify(token)
    assert (caller.user, caller.tenant) == ("user-1", "acme")
    assert caller.is_in("editor")
    assert not caller.is_in("admin")


def encoded(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


async def refusal(verifier: TokenVerifier, token: str) -> str:
    with pytest.raises(InvalidTokenError) as caught:
        await verifier.verify(token)
    return str(caught.value)


async def test_no_algorithm_is_refused(issuer: Issuer, verifier: TokenVerifier) -> None:
    claims = issuer.claims(int(time.time()))
    for alg in ("none", "None", "", None):
        token = f"{encoded({'alg': alg, 'kid': 'first'})}.{encoded(claims)}."
        assert "not signed with RS256" in await refusal(verifier, token)


async def test_the_public_key_is_no_shared_secret(issuer: Issuer, verifier: TokenVerifier) -> None:
    secret = issuer.keys["first"].as_pem(private=False)
    head = encoded({"alg": "HS256", "kid": "first"})
    signed = f"{head}.{encoded(issuer.claims(int(time.time())))}"
    mac = hmac.digest(secret, signed.encode(), "sha256")
    token = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    assert "not signed with RS256" in await refusal(verifier, token)


@pytest.mark.parametrize("alg", ["RS384", "RS512", "PS256"])
async def test_another_rsa_algorithm_is_refused(
    issuer: Issuer, verifier: TokenVerifier, alg: str
) -> None:
    key = RSAKey.import_key({**issuer.keys["first"].as_dict(private=True), "alg": alg})
    claims = issuer.claims(int(time.time()))
    token = jwt.encode({"alg": alg, "kid": "first"}, claims, key, algorithms=[alg])
    assert "not signed with RS256" in await refusal(verifier, token)


async def test_a_token_of_another_key_is_refused(issuer: Issuer, verifier: TokenVerifier) -> None:
    forged = issuer.token(kid="first", key=RSAKey.generate_key(2048))
    assert "signature of the access token is wrong" in await refusal(verifier, forged)


async def test_changed_claims_are_refused(issuer: Issuer, verifier: TokenVerifier) -> None:
    head, _, signature = issuer.token().split(".")
    claims = {**issuer.claims(int(time.time())), "tenant": "victim"}
    message = await refusal(verifier, f"{head}.{encoded(claims)}.{signature}")
    assert "signature of the access token is wrong" in message


@pytest.mark.parametrize(
    ("claims", "part"),
    [
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": ISSUER + "/"}, "another issuer"),
        ({"token_use": "id"}, "not an access token; send that, not the id token"),
        ({"client_id": "other"}, "another client"),
        ({"client_id": None, "aud": CLIENT}, "another client"),
        ({"exp": None}, "when it ends"),
        ({"exp": "soon"}, "when it ends"),
        ({"exp": True}, "when it ends"),
        ({"sub": ""}, "names no user"),
        ({"sub": "a/b"}, "names no user"),
        ({"sub": 7}, "names no user"),
    ],
)
async def test_wrong_claims_are_refused(
    issuer: Issuer, verifier: TokenVerifier, claims: dict[str, Any], part: str
) -> None:
    assert part in await refusal(verifier, issuer.token(**claims))


@pytest.mark.parametrize("tenant", [None, "", "a/b", "../b", "a#b", 7, ["acme"], "a" * 200])
async def test_a_user_without_a_usable_tenant_is_told_so(
    issuer: Issuer, verifier: TokenVerifier, tenant: object
) -> None:
    with pytest.raises(NoTenantError, match="ask an administrator"):
        await verifier.verify(issuer.token(tenant=tenant))


async def test_clocks_may_differ_by_the_leeway_and_no_more(
    issuer: Issuer, verifier: TokenVerifier, clock: Clock
) -> None:
    ends = int(clock.now)
    token = issuer.token(exp=ends, iat=ends - 600)
    clock.now = ends + LEEWAY_SECONDS - 1
    await verifier.verify(token)
    clock.now = ends + LEEWAY_SECONDS
    assert "expired" in await refusal(verifier, token)
    early = issuer.token(iat=ends + 2 * LEEWAY_SECONDS + 1, exp=ends + 600)
    assert "not valid yet" in await refusal(verifier, early)


@pytest.mark.parametrize(
    "token",
    ["", "x", "a.b", "a.b.c", "....", "é.é.é", "e30.e30.", "W10.e30.x", "9" * 9000],
)
async def test_rubbish_is_refused(verifier: TokenVerifier, token: str) -> None:
    assert await refusal(verifier, token)


async def test_a_critical_header_that_is_not_understood_is_refused(
    issuer: Issuer, verifier: TokenVerifier
) -> None:
    head = encoded({"alg": "RS256", "kid": "first", "crit": ["x"], "x": 1})
    _, body, signature = issuer.token().split(".")
    assert await refusal(verifier, f"{head}.{body}.{signature}")


async def test_the_keys_are_read_once_and_only_when_needed(
    issuer: Issuer, verifier: TokenVerifier
) -> None:
    assert issuer.reads == 0
    callers = await asyncio.gather(*(verifier.verify(issuer.token()) for _ in range(20)))
    assert len({caller.user for caller in callers}) == 1
    assert issuer.reads == 1


async def test_a_new_key_is_found_without_a_restart(
    issuer: Issuer, verifier: TokenVerifier, clock: Clock
) -> None:
    await verifier.verify(issuer.token())
    clock.now += RETRY_SECONDS
    issuer.add_key("second")
    assert isinstance(await verifier.verify(issuer.token(kid="second")), Caller)


async def test_unknown_keys_do_not_make_the_api_hammer_the_issuer(
    issuer: Issuer, verifier: TokenVerifier, clock: Clock
) -> None:
    await verifier.verify(issuer.token())
    for number in range(50):
        unknown = issuer.token(kid=f"made-up-{number}", key=issuer.keys["first"])
        assert "does not have" in await refusal(verifier, unknown)
    assert issuer.reads == 1
    clock.now += RETRY_SECONDS
    await refusal(verifier, issuer.token(kid="made-up", key=issuer.keys["first"]))
    assert issuer.reads == 2


async def test_an_outage_of_the_issuer_is_survived_with_known_keys(
    issuer: Issuer, verifier: TokenVerifier, clock: Clock
) -> None:
    seen = issuer.token(exp=int(clock.now) + 10 * REFRESH_SECONDS)
    await verifier.verify(seen)
    issuer.down = True
    clock.now += REFRESH_SECONDS + 1
    fresh = issuer.token(iat=int(clock.now), exp=int(clock.now) + 600)
    assert await verifier.verify(fresh)
    assert await verifier.verify(seen)


async def test_an_outage_before_the_first_key_is_told_and_ends_with_it(
    issuer: Issuer, verifier: TokenVerifier, clock: Clock
) -> None:
    issuer.down = True
    waiting = [verifier.verify(issuer.token()) for _ in range(20)]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {KeysUnavailableError}
    assert issuer.reads == 1
    issuer.down = False
    clock.now += COLD_RETRY_SECONDS
    assert await verifier.verify(issuer.token())


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b'{"keys": 1}', b'{"keys": []}', b'{"keys": [{"kid": "a"}]}', b"<html>"],
)
async def test_a_broken_key_set_is_no_key_set(
    issuer: Issuer, verifier: TokenVerifier, document: bytes
) -> None:
    issuer.document = document
    with pytest.raises(KeysUnavailableError):
        await verifier.verify(issuer.token())


async def test_a_withdrawn_key_stops_working_for_tokens_already_seen(
    issuer: Issuer, verifier: TokenVerifier, clock: Clock
) -> None:
    token = issuer.token(exp=int(clock.now) + 10 * REFRESH_SECONDS)
    await verifier.verify(token)
    issuer.add_key("second")
    del issuer.keys["first"]
    clock.now += REFRESH_SECONDS + 1
    await verifier.verify(token)  # starts the renewal, and does not wait for it
    await asyncio.wait_for(asyncio.to_thread(issuer.second_read.wait), 10)
    clock.now += RETRY_SECONDS
    fresh = issuer.token(kid="second", iat=int(clock.now), exp=int(clock.now) + 600)
    assert await verifier.verify(fresh)
    assert "does not have" in await refusal(verifier, token)
