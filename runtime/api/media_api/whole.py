"""Whole numbers in JSON."""

from __future__ import annotations

from pydantic import BeforeValidator


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Takes ``17.0`` and ``1.7e1`` for 17, where a field is strict beside that.

Source: JSON Schema 2020-12 (Validation), section 6.1.1: a number without a fraction is an integer.
"""
