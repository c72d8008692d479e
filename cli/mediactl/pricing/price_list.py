"""Prices of today, from the AWS Price List API.

Source: AWS Price List Query API, ``GetProducts``; usage types carry a prefix of the region in most
services, e.g. ``EU-NatGateway-Hours`` beside ``NatGateway-Hours`` in us-east-1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mediactl.pricing.book import ListKey, PriceBook

API_REGION = "us-east-1"
"""A region in which the API is; it tells prices of all."""

_TOGETHER = 4


def list_prices(
    client: Any, book: PriceBook, regions: Iterable[str]
) -> dict[tuple[str, str], float]:
    """Return the prices of a book that the API tells, in the units of the book.

    What it does not tell, or tells in a way that could mean several prices, is left out.

    Args:
        client: A botocore client of ``pricing``.
        book: Tells how the API knows each price.
        regions: Regions.
    """
    wanted = [
        (name, region, key)
        for name, key in book.keys.items()
        for region in sorted({*regions, API_REGION})
    ]
    with ThreadPoolExecutor(max_workers=_TOGETHER) as pool:
        answers = [pool.submit(_price, client, key, region) for _, region, key in wanted]
        try:
            told = [answer.result() for answer in answers]
        finally:
            # After an error nobody waits for the others.
            pool.shutdown(wait=False, cancel_futures=True)
    return {
        (name, region): usd * key.per
        for (name, region, key), usd in zip(wanted, told, strict=True)
        if usd is not None
    }


def _price(client: Any, key: ListKey, region: str) -> float | None:
    """Return the price of the first units that are not free, if there is exactly one."""
    found: set[float] = set()
    for product in _products(client, key, region):
        attributes = product["product"]["attributes"]
        usage = re.sub(r"^([A-Z]{2,5}\d?|[a-z]{2}(-[a-z]+)+-\d)-", "", attributes["usagetype"])
        family = product["product"].get("productFamily")
        if usage != key.usage or key.family not in {None, family}:
            continue
        usd = _first_paid(product.get("terms", {}).get("OnDemand", {}))
        if usd is not None:
            found.add(usd)
    return found.pop() if len(found) == 1 else None


def _products(client: Any, key: ListKey, region: str) -> Iterable[dict[str, Any]]:
    filters = [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": region}]
    for usage in (key.usage, *(f"{prefix}-{key.usage}" for prefix in _prefixes(region))):
        by_usage = {"Type": "TERM_MATCH", "Field": "usagetype", "Value": usage}
        pages = client.get_paginator("get_products").paginate(
            ServiceCode=key.service, Filters=[*filters, by_usage], FormatVersion="aws_v1"
        )
        for page in pages:
            yield from map(json.loads, page["PriceList"])


def _prefixes(region: str) -> list[str]:
    """Return what may stand before usage types of a region."""
    short = _SHORT.get(region)
    return [region] if short is None else [short, region]


_SHORT: Mapping[str, str] = {
    "us-east-1": "USE1",
    "us-east-2": "USE2",
    "us-west-1": "USW1",
    "us-west-2": "USW2",
    "ca-central-1": "CAN1",
    "eu-west-1": "EU",
    "eu-west-2": "EUW2",
    "eu-west-3": "EUW3",
    "eu-central-1": "EUC1",
    "eu-north-1": "EUN1",
    "eu-south-1": "EUS1",
    "ap-northeast-1": "APN1",
    "ap-northeast-2": "APN2",
    "ap-northeast-3": "APN3",
    "ap-southeast-1": "APS1",
    "ap-southeast-2": "APS2",
    "ap-south-1": "APS3",
    "sa-east-1": "SAE1",
}
"""What stands before usage types; AWS has its own short names, two of them of no rule."""


def _first_paid(terms: Mapping[str, Any]) -> float | None:
    """Return the price of the lowest tier that costs something."""
    tiers = [
        (float(tier["beginRange"] or 0), float(tier["pricePerUnit"]["USD"]))
        for term in terms.values()
        for tier in term["priceDimensions"].values()
        if "USD" in tier["pricePerUnit"]
    ]
    paid = [usd for _, usd in sorted(tiers) if usd]
    return paid[0] if paid else None
