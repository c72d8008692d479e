"""Documents that are fetched by HTTP, such as key sets: small ones, and soon or not at all."""

from __future__ import annotations

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=5, connect=2)


async def fetch_document(session: aiohttp.ClientSession, url: str, *, most_bytes: int) -> bytes:
    """Return the document at a URL.

    Args:
        session: A session.
        url: The URL.
        most_bytes: Largest size.

    Raises:
        ValueError: If there is none, or a larger one.
        aiohttp.ClientError: If it cannot be reached.
        TimeoutError: If it does not arrive in time.
    """
    place = url.partition("?")[0]
    async with session.get(url, timeout=_TIMEOUT, allow_redirects=False) as answer:
        if answer.status != 200:  # noqa: PLR2004 - HTTP
            raise ValueError(f"{place} answered with status {answer.status}")
        content = b""
        while not answer.content.at_eof() and len(content) <= most_bytes:
            content += await answer.content.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise ValueError(f"{place} has more than {most_bytes} bytes")
        return content
