"""The delivery document and the signing key, kept fresh.

The Edge stack is deployed after the API, and keys rotate: so both are read when they are needed,
read again when they are old, and the last good ones serve through an outage. A process reads them
also while nobody asks it anything: whoever rotates keys knows by when all have the new one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from media_api.logs import log
from media_api.signing import PlaybackSigner, SignatureRefusedError
from media_platform.contract.delivery import FRESH_SECONDS, DeliveryDocument, SigningKeyPair

RETRY_SECONDS = 3
"""Shortest time between two reads after one that failed."""

COLD_RETRY_SECONDS = 0.5
"""The same before the first read that did not fail: users come as soon as the document is there."""

_READ_LIMIT_SECONDS = 5
"""Longest wait for both, retries included."""


class DeliveryUnavailableError(Exception):
    """The distribution is not known yet, or its key cannot be read."""


class Delivery:
    """Knows where and with which key playback is signed.

    Args:
        ssm: An SSM client.
        secrets: A Secrets Manager client.
        parameter: Name of the parameter that holds the document.
        clock: Seconds that only go forward. Default: the monotonic clock.
    """

    def __init__(
        self,
        ssm: Any,
        secrets: Any,
        *,
        parameter: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ssm = ssm
        self._secrets = secrets
        self._parameter = parameter
        self._clock = clock
        self._lock = asyncio.Lock()
        self._next_read = -float("inf")
        self._document: DeliveryDocument | None = None
        self._signer: PlaybackSigner | None = None
        self._signers: dict[str, PlaybackSigner] = {}

    async def signer(self) -> PlaybackSigner:
        """Return the signer with the active key.

        Raises:
            DeliveryUnavailableError: If there never was one and there is none now.
        """
        # While one request reads, the others go on with what there is.
        if self._clock() >= self._next_read and not (self._signer and self._lock.locked()):
            async with self._lock:
                if self._clock() >= self._next_read:
                    await self._read()
        if self._signer is None:
            raise DeliveryUnavailableError
        return self._signer

    async def signer_of(self, key_pair_id: str) -> PlaybackSigner:
        """Return the signer with a key that the distribution accepts, active or not.

        Raises:
            DeliveryUnavailableError: If there never was one and there is none now.
            SignatureRefusedError: If the key is not known.
        """
        await self.signer()
        signer = self._signers.get(key_pair_id)
        if signer is None:
            raise SignatureRefusedError("the playback signature names a key that is not in use")
        return signer

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read again what is old meanwhile, whether somebody asks or not."""
        task = asyncio.create_task(self._read_now_and_then())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _read_now_and_then(self) -> None:
        while True:
            with suppress(DeliveryUnavailableError):
                await self.signer()
            pause = self._next_read - self._clock() if self._signer else FRESH_SECONDS
            await asyncio.sleep(max(pause, RETRY_SECONDS))

    async def _read(self) -> None:
        pause = RETRY_SECONDS if self._signer else COLD_RETRY_SECONDS
        try:
            async with asyncio.timeout(_READ_LIMIT_SECONDS):
                answer = await self._ssm.get_parameter(Name=self._parameter)
                document = DeliveryDocument.from_json(answer["Parameter"]["Value"])
                if document != self._document:
                    await self._use(document)
            pause = FRESH_SECONDS
        except (ClientError, BotoCoreError, TimeoutError, ValueError) as error:
            log.warning("delivery_unavailable", error=repr(error), known=self._signer is not None)
        self._next_read = self._clock() + pause

    async def _use(self, document: DeliveryDocument) -> None:
        base_url = document.base_url
        active = await self._signer_with(document.key_pair_id, document.signing_secret, base_url)
        signers = {active.key_pair_id: active}
        known: DeliveryDocument | None = document
        for key_pair_id, secret in document.other_secrets.items():
            try:
                signers[key_pair_id] = await self._signer_with(key_pair_id, secret, base_url)
            except (ClientError, BotoCoreError, ValueError) as error:
                # What it signed is refused for a while; the document is read as if it were new.
                known = None
                log.warning("other_key_unavailable", key_pair_id=key_pair_id, error=repr(error))
        self._document, self._signer, self._signers = known, active, signers
        log.info("delivery_read", base_url=base_url, key_pair_ids=list(signers))

    async def _signer_with(self, key_pair_id: str, secret: str, base_url: str) -> PlaybackSigner:
        answer = await self._secrets.get_secret_value(SecretId=secret)
        pair = SigningKeyPair.from_json(answer["SecretString"])
        return PlaybackSigner(pair, key_pair_id=key_pair_id, base_url=base_url)
