"""The price book: what AWS and others ask, each price with its source and date."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from typing import Any

from mediactl.pricing import EVERYWHERE

DEFAULT_REGION = "us-east-1"
"""Region whose price stands for that of a region which the table does not have."""


@dataclass(frozen=True, kw_only=True)
class ListKey:
    """How the AWS Price List API knows a price.

    Attributes:
        service: Code of the service.
        usage: Usage type without the prefix of the region.
        family: Product family, where one usage type has several products.
        per: By how much its price is multiplied to be for the unit of the table.
    """

    service: str
    usage: str
    family: str | None = None
    per: float = 1


@dataclass(frozen=True, kw_only=True)
class Price:
    """What something costs in a region.

    Attributes:
        name: How the table calls it.
        unit: What the price is for.
        usd: US dollars for a unit.
        region: Region that it was read for; ``all`` if it is the same everywhere.
        source: Page that says so.
        date: Day of the price (ISO 8601).
        read: How it was read: ``list``, ``page``, ``recalled`` or ``price list api``.
        free: Units that are free in every month.
        tiers: Where another price begins: units of the month, and US dollars.
    """

    name: str
    unit: str
    usd: float
    region: str
    source: str
    date: str
    read: str
    free: float = 0
    tiers: tuple[tuple[float, float], ...] = ()

    def cost(self, quantity: float) -> float:
        """Return what so many units cost in a month."""
        steps = [(0.0, self.usd), *self.tiers, (float("inf"), 0.0)]
        return sum(
            max(0.0, min(quantity, end) - start) * usd for (start, usd), (end, _) in pairwise(steps)
        )


class PriceBook:
    """Prices by name and region.

    Args:
        prices: The prices.
        keys: How the AWS Price List API knows them, for those that it is asked for.
    """

    def __init__(self, prices: Iterable[Price], keys: Mapping[str, ListKey]) -> None:
        self._prices = {(price.name, price.region): price for price in prices}
        self.keys = dict(keys)

    def price(self, name: str, region: str) -> Price:
        """Return a price; that of ``us-east-1`` if none is known for the region.

        Raises:
            KeyError: If there is no such price: a mistake of whoever asks.
        """
        for place in (region, EVERYWHERE, DEFAULT_REGION):
            if (name, place) in self._prices:
                return self._prices[name, place]
        raise KeyError(name)

    def prices(self) -> list[Price]:
        """Return all of them, by name and region."""
        return [self._prices[key] for key in sorted(self._prices)]

    def with_list_prices(self, found: Mapping[tuple[str, str], float], day: str) -> PriceBook:
        """Return a book in which prices of the AWS Price List API replace others.

        Args:
            found: US dollars for the unit of the table, by name and region.
            day: When they were asked for.
        """
        asked = [
            replace(
                self.price(name, region), usd=usd, region=region, date=day, read="price list api"
            )
            for (name, region), usd in found.items()
        ]
        return PriceBook([*self._prices.values(), *asked], self.keys)


@lru_cache
def price_table() -> PriceBook:
    """Return the table that is part of this version."""
    text = resources.files("mediactl.pricing").joinpath("prices.toml").read_text()
    rows: list[dict[str, Any]] = tomllib.loads(text)["price"]
    prices = [price for row in rows for price in _prices_of(row)]
    keys = {row["name"]: ListKey(**row["list"]) for row in rows if "list" in row}
    return PriceBook(prices, keys)


def _prices_of(row: dict[str, Any]) -> Iterable[Price]:
    day: date = row["date"]
    for region, usd in row["usd"].items():
        yield Price(
            name=row["name"],
            unit=row["unit"],
            usd=usd,
            region=region,
            source=row["source"],
            date=day.isoformat(),
            read=row["read"],
            free=row.get("free", 0),
            tiers=tuple((start, usd) for start, usd in row.get("tiers", ())),
        )
