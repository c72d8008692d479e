"""What commands print: data to stdout, talk to stderr."""

from __future__ import annotations

import json
from typing import Any

import click


def say(text: str) -> None:
    """Tell the person something; programs that read stdout do not see it."""
    click.echo(text, err=True)


def data(value: Any) -> None:
    """Print a result as JSON on stdout."""
    click.echo(json.dumps(value, indent=2, default=str))
