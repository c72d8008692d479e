"""Pages of a site: which of them stands for a path that has none of its own.

The distribution decides it by a CloudFront Function, the local edge by reading the same one.
"""

from __future__ import annotations

import re

_PAGE = re.compile(r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$")
_CODE = """\
// Paths whose last part has no dot are places within a page, not files.
function handler(event) {{
  var request = event.request;
  if (!request.uri.split('/').pop().includes('.')) {{
    request.uri = '/{page}';
  }}
  return request;
}}
"""
_PAGE_OF_CODE = re.compile(r"request\.uri = '/(?P<page>[^']*)'")


def is_page(name: str) -> bool:
    """Return whether something can be the key of a page: letters, digits, ``_.-/``."""
    return _PAGE.fullmatch(name) is not None


def fallback_code(page: str) -> str:
    """Return the CloudFront Function that answers with ``page`` where a path names no file."""
    return _CODE.format(page=page)


def fallback_of_code(code: str) -> str | None:
    """Return the page of a function that :func:`fallback_code` wrote, ``None`` of any other."""
    found = _PAGE_OF_CODE.search(code)
    if found is None or code != fallback_code(found["page"]):
        return None
    return found["page"]


def path_with_fallback(path: str, page: str) -> str:
    """Return the path that the function asks for, as it would."""
    return path if "." in path.rpartition("/")[2] else f"/{page}"
