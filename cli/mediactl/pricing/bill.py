"""A bill: quantities at the prices of a book."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Protocol

from mediactl.pricing import EVERYWHERE
from mediactl.pricing.book import Price, PriceBook


@dataclass(frozen=True, kw_only=True)
class CostLine:
    """One line of a bill for a month.

    Attributes:
        service: AWS service.
        what: What is paid for.
        region: Region, ``all`` for services without one.
        quantity: How much of it, in a month.
        unit: Of what.
        free: How much of it is free.
        unit_usd: US dollars for a unit, before discounts for quantity.
        usd: US dollars in a month.
        price: Name of the price in the table.
    """

    service: str
    what: str
    region: str
    quantity: float
    unit: str
    free: float
    unit_usd: float
    usd: float
    price: str


class AddLine(Protocol):
    """Adds a line of a service in a region: what, name of the price, quantity."""

    def __call__(self, what: str, price: str, quantity: float) -> None:
        """Add it, unless there is nothing of it."""


class Bill:
    """Lines of a month, with what is free and what gets cheaper counted over all of them.

    Args:
        book: The prices.
        with_free: Whether what is free for an account is free here.
    """

    def __init__(self, book: PriceBook, *, with_free: bool = True) -> None:
        self._book = book
        self._with_free = with_free
        self._used: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._given: defaultdict[str, float] = defaultdict(float)
        self.lines: list[CostLine] = []

    def add(
        self,
        service: str,
        what: str,
        price: str,
        quantity: float,
        region: str = EVERYWHERE,
        *,
        factor: float = 1,
    ) -> None:
        """Add a line, unless there is nothing of it.

        Args:
            service: AWS service.
            what: What is paid for.
            price: Name of its price.
            quantity: How much of it, in units of the price.
            region: Region.
            factor: Share of the price that is paid.
        """
        if quantity <= 0:
            return
        found = self._book.price(price, region)
        free = 0.0
        if self._with_free:
            free = min(quantity, max(0.0, found.free - self._given[price]))
            self._given[price] += free
        before = self._used[price, found.region]
        after = before + quantity - free
        self._used[price, found.region] = after
        self.lines.append(
            CostLine(
                service=service,
                what=what,
                region=region,
                quantity=quantity,
                unit=found.unit,
                free=free,
                unit_usd=found.usd * factor,
                usd=(found.cost(after) - found.cost(before)) * factor,
                price=price,
            )
        )

    def in_region(self, service: str, region: str, *, factor: float = 1) -> AddLine:
        """Return what adds lines of one service in one region."""

        def add(what: str, price: str, quantity: float) -> None:
            self.add(service, what, price, quantity, region, factor=factor)

        return add

    def price(self, name: str, region: str) -> Price:
        """Return a price of the book."""
        return self._book.price(name, region)

    @property
    def usd(self) -> float:
        """US dollars in a month."""
        return sum(line.usd for line in self.lines)

    def rounded(self) -> list[CostLine]:
        """Return the lines as programs get them: no more digits than make sense."""
        return [
            replace(
                line,
                quantity=round(line.quantity, 4),
                free=round(line.free, 4),
                unit_usd=round(line.unit_usd, 10),
                usd=round(line.usd, 4),
            )
            for line in self.lines
        ]
