"""What MediaConvert, Mux and Cloudflare Stream ask for the same workload."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mediactl.pricing import EVERYWHERE
from mediactl.pricing.book import PriceBook
from mediactl.pricing.usage import Month

_HD_LINES = 720
_MUX_LINES = 720
_HD_COUNTS, _SD_COUNTS = 2, 1
"""Normalized minutes of a minute of output, up to 30 frames a second. Source: AWS Elemental
MediaConvert pricing, Basic tier.
"""


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """What another service asks.

    Attributes:
        name: Its name.
        what: What it does for that.
        usd: US dollars in a month.
        ours_usd: What the same part of the stage costs.
    """

    name: str
    what: str
    usd: float
    ours_usd: float


def alternatives(
    book: PriceBook, month: Month, *, workers_usd: float, all_usd: float
) -> list[Alternative]:
    """Return what others ask, each beside what it would be instead of.

    Args:
        book: Prices.
        month: The workload, as the stage serves it.
        workers_usd: What the workers of the stage cost.
        all_usd: What the whole stage costs.
    """
    return [
        Alternative(
            name="AWS Elemental MediaConvert",
            what="transcoding alone, Basic tier",
            usd=_mediaconvert(book, month),
            ours_usd=workers_usd,
        ),
        Alternative(
            name="Mux, plus",
            what="input, storage, delivery",
            usd=_mux(book, month, paid_input=True),
            ours_usd=all_usd,
        ),
        Alternative(
            name="Mux, basic (shorter ladder)",
            what="storage, delivery",
            usd=_mux(book, month, paid_input=False),
            ours_usd=all_usd,
        ),
        Alternative(
            name="Cloudflare Stream",
            what="input, storage, delivery",
            usd=_cloudflare(book, month),
            ours_usd=all_usd,
        ),
    ]


def _mediaconvert(book: PriceBook, month: Month) -> float:
    counted = sum(_HD_COUNTS if lines >= _HD_LINES else _SD_COUNTS for lines, _ in month.rungs)
    return _cost(book, "mediaconvert-basic", month.workload.uploaded_minutes * counted)


def _mux(book: PriceBook, month: Month, *, paid_input: bool) -> float:
    workload = month.workload
    lines = 720 if workload.source_lines <= _MUX_LINES else 1080
    usd = _cost(book, f"mux-storage-{lines}", workload.stored_minutes)
    usd += _cost(book, f"mux-delivery-{lines}", workload.minutes_watched)
    if paid_input:
        usd += _cost(book, f"mux-input-{lines}", workload.uploaded_minutes)
    return usd


def _cloudflare(book: PriceBook, month: Month) -> float:
    thousands = math.ceil(month.workload.stored_minutes / 1000)
    watched = month.workload.minutes_watched / 1000
    return _cost(book, "cloudflare-storage", thousands) + _cost(
        book, "cloudflare-delivery", watched
    )


def _cost(book: PriceBook, name: str, quantity: float) -> float:
    price = book.price(name, EVERYWHERE)
    return price.cost(max(0.0, quantity - price.free))
