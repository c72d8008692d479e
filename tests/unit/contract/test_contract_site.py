"""The page that stands for paths without one: Python agrees with what CloudFront would run."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from media_platform.contract.site import (
    fallback_code,
    fallback_of_code,
    is_page,
    path_with_fallback,
)

PATHS = (
    "/",
    "/videos",
    "/videos/",
    "/videos/01a1",
    "/v1.2/videos",
    "/main.js",
    "/assets/logo.svg",
    "/.well-known",
    "/.well-known/security.txt",
    "/a.b/",
    "//",
)


def test_the_function_and_the_local_edge_choose_the_same_page() -> None:
    program = f"""
      {fallback_code("app/index.html")}
      const paths = JSON.parse(process.argv[1]);
      const chosen = paths.map((uri) => handler({{ request: {{ uri }} }}).uri);
      process.stdout.write(JSON.stringify(chosen));
    """
    node = shutil.which("node")
    assert node is not None
    ran = subprocess.run(
        [node, "-e", program, json.dumps(PATHS)], capture_output=True, check=True, text=True
    )
    expected = [path_with_fallback(path, "app/index.html") for path in PATHS]
    assert json.loads(ran.stdout) == expected
    assert dict(zip(PATHS, expected, strict=True))["/videos/01a1"] == "/app/index.html"
    assert dict(zip(PATHS, expected, strict=True))["/main.js"] == "/main.js"


def test_a_function_tells_its_page_and_others_tell_none() -> None:
    code = fallback_code("index.html")
    assert fallback_of_code(code) == "index.html"
    assert fallback_of_code(code.replace("return request", "return null")) is None
    assert fallback_of_code("function handler(event) { return event.request; }") is None


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("index.html", True),
        ("app/index.html", True),
        ("/index.html", False),
        ("a//b", False),
        ("it's.html", False),
        ("", False),
    ],
)
def test_names_of_pages_need_no_escaping(name: str, allowed: bool) -> None:
    assert is_page(name) is allowed
