"""Access tokens of the user pool, checked without asking the pool.

Source: Amazon Cognito Developer Guide, "Verifying JSON web tokens" and "Understanding the access
token"; RFC 8725 for the order of checks.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from media_api.documents import fetch_document
from media_api.logs import log
from media_platform.contract.identity import GROUPS_CLAIM, TENANT_CLAIM
from media_platform.contract.object_keys import is_key_segment

_ALGORITHM = "RS256"
_LONGEST_TOKEN = 8 * 1024
_LARGEST_KEY_SET_BYTES = 256 * 1024
_KEPT_TOKENS = 10_000

LEEWAY_SECONDS = 30
"""How far clocks may differ."""

REFRESH_SECONDS = 3600
"""Age after which the keys are read again, so that a withdrawn key stops working."""

RETRY_SECONDS = 10
"""Shortest time between two reads of the keys, whatever tokens claim."""

COLD_RETRY_SECONDS = 1
"""The same while there are no keys at all, without which nothing works."""


class InvalidTokenError(Exception):
    """A token is not accepted; the message says why and may be shown."""


class NoTenantError(Exception):
    """A token is genuine, but names no tenant that may stand in keys; the message may be shown."""


class KeysUnavailableError(Exception):
    """The keys of the issuer were never read and cannot be read now."""


@dataclass(frozen=True)
class Caller:
    """Who makes a request.

    Attributes:
        user: The user (``sub``).
        tenant: Tenant of the user.
        groups: Groups of the user.
        expires_at: Unix seconds at which the token ends.
    """

    user: str
    tenant: str
    groups: frozenset[str] = field(default_factory=frozenset)
    expires_at: float = 0

    def is_in(self, *groups: str) -> bool:
        """Tell whether the user is in one of ``groups``."""
        return not self.groups.isdisjoint(groups)


FetchKeys = Callable[[], Awaitable[bytes]]
"""Reads the JWKS document."""


def fetch_with(session: aiohttp.ClientSession, url: str) -> FetchKeys:
    """Return a reader of the JWKS document at ``url``, with its own time and size limits."""

    async def fetch() -> bytes:
        return await fetch_document(session, url, most_bytes=_LARGEST_KEY_SET_BYTES)

    return fetch


class KeySet:
    """The keys of the issuer: read when first needed, kept through outages, renewed by the hour.

    Args:
        fetch: Reads the JWKS document.
        clock: Seconds that only go forward. Default: the monotonic clock.
    """

    def __init__(self, fetch: FetchKeys, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, RSAKey] = {}
        self._read_at = -float("inf")
        self._next_read = -float("inf")
        self._lock = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None

    async def key(self, kid: str) -> RSAKey | None:
        """Return the key with an id, or ``None`` if the issuer has none.

        An unknown id makes the keys be read again, but at most every :data:`RETRY_SECONDS`; keys
        that are merely old are renewed beside the requests, which an outage must not hold up.

        Raises:
            KeysUnavailableError: If the keys were never read and cannot be read now.
        """
        if kid not in self._keys:
            await self._renew(kid)
        elif self._is_old() and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.create_task(self._renew(kid))
        if not self._keys:
            raise KeysUnavailableError
        return self._keys.get(kid)

    def _is_old(self) -> bool:
        return self._clock() - self._read_at > REFRESH_SECONDS

    async def _renew(self, kid: str) -> None:
        async with self._lock:
            wanted = kid not in self._keys or self._is_old()
            if not wanted or self._clock() < self._next_read:
                return
            try:
                self._keys = _parse(await self._fetch())
                self._read_at = self._clock()
            except (aiohttp.ClientError, TimeoutError, ValueError, JoseError) as error:
                log.warning("keys_unavailable", error=repr(error), known=len(self._keys))
            # Counted from the end of the read: whoever waited for it meanwhile does not read again.
            pause = RETRY_SECONDS if self._keys else COLD_RETRY_SECONDS
            self._next_read = self._clock() + pause


def _parse(document: bytes) -> dict[str, RSAKey]:
    """Return the RS256 signing keys of a JWKS document by id; others are left out."""
    content = json.loads(document)
    entries = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError("the document holds no list of keys")  # noqa: TRY004 - it is content
    keys = {
        entry["kid"]: RSAKey.import_key({**entry})
        for entry in entries
        if isinstance(entry, dict)
        and isinstance(entry.get("kid"), str)
        and entry.get("kty") == "RSA"
        and entry.get("alg", _ALGORITHM) == _ALGORITHM
        and entry.get("use", "sig") == "sig"
    }
    if not keys:
        raise ValueError("the document holds no RS256 key")
    return keys


class TokenVerifier:
    """Tells who makes a request from an access token.

    Args:
        keys: Keys of the issuer.
        issuer: ``iss`` that tokens must carry.
        client_id: ``client_id`` that tokens must carry.
        clock: Unix seconds. Default: the system's.
    """

    def __init__(
        self,
        keys: KeySet,
        *,
        issuer: str,
        client_id: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._client_id = client_id
        self._clock = clock
        self._seen: OrderedDict[bytes, tuple[RSAKey, str, Caller]] = OrderedDict()

    async def verify(self, token: str) -> Caller:
        """Return who holds ``token``.

        A token that was accepted before is accepted again without arithmetic, while it has not
        expired and the issuer still has its key.

        Raises:
            InvalidTokenError: If the token is not accepted.
            NoTenantError: If it names no tenant.
            KeysUnavailableError: If the keys of the issuer cannot be had.
        """
        # By their hashes, which take a thirtieth of the memory and open nothing.
        digest = hashlib.sha256(token.encode()).digest()
        seen = self._seen.get(digest)
        if seen is not None:
            key, kid, caller = seen
            if caller.expires_at + LEEWAY_SECONDS > self._clock() and (
                await self._keys.key(kid) is key
            ):
                # Others may have dropped it while the key was looked up.
                if digest in self._seen:
                    self._seen.move_to_end(digest)
                return caller
            self._seen.pop(digest, None)
        kid = _key_id(token)
        found = await self._keys.key(kid)
        if found is None:
            raise InvalidTokenError(
                "the access token is signed with a key its issuer does not have"
            )
        try:
            claims = jwt.decode(token, found, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError):
            raise InvalidTokenError("the signature of the access token is wrong") from None
        caller = self._caller(claims)
        self._seen[digest] = (found, kid, caller)
        if len(self._seen) > _KEPT_TOKENS:
            self._seen.popitem(last=False)
        return caller

    def _caller(self, claims: dict[str, Any]) -> Caller:
        if claims.get("iss") != self._issuer:
            raise InvalidTokenError("the access token comes from another issuer")
        if claims.get("token_use") != "access":
            raise InvalidTokenError("this is not an access token; send that, not the id token")
        if claims.get("client_id") != self._client_id:
            raise InvalidTokenError("the access token was issued to another client")
        expires_at = self._check_times(claims)
        user, tenant = claims.get("sub"), claims.get(TENANT_CLAIM)
        if not isinstance(user, str) or not is_key_segment(user):
            raise InvalidTokenError("the access token names no user")
        if not isinstance(tenant, str) or not is_key_segment(tenant):
            raise NoTenantError(
                "the access token names no usable tenant; "
                "ask an administrator to put the user into one, and sign in again"
            )
        groups = claims.get(GROUPS_CLAIM)
        names = map(str, groups) if isinstance(groups, list) else ()
        return Caller(user, tenant, frozenset(names), expires_at)

    def _check_times(self, claims: dict[str, Any]) -> float:
        """Return when a token ends that is valid now."""
        now = self._clock()
        expires_at = _time(claims.get("exp"))
        if expires_at is None:
            raise InvalidTokenError("the access token does not say when it ends")
        if expires_at + LEEWAY_SECONDS <= now:
            raise InvalidTokenError("the access token has expired; refresh it")
        for name in {"nbf", "iat"} & claims.keys():
            begins_at = _time(claims[name])
            if begins_at is None or begins_at - LEEWAY_SECONDS > now:
                raise InvalidTokenError("the access token is not valid yet")
        return expires_at


def _time(value: object) -> float | None:
    """Return a NumericDate (RFC 7519, section 2), or ``None`` if ``value`` is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53:
        return float(value)
    return None


def _key_id(token: str) -> str:
    """Return the key id that the header of a token names, before anything in it is trusted."""
    if len(token) > _LONGEST_TOKEN:
        raise InvalidTokenError(f"the access token is longer than {_LONGEST_TOKEN} characters")
    head = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, RecursionError):
        raise InvalidTokenError("the access token is malformed") from None
    if not isinstance(header, dict) or header.get("alg") != _ALGORITHM:
        raise InvalidTokenError(f"the access token is not signed with {_ALGORITHM}")
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise InvalidTokenError("the access token does not name its key")
    return kid
