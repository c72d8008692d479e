"""What the tests of the local plane share: a foreign signer and keys."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from plane_keys import AmazonSigner

REPOSITORY = Path(__file__).parents[3]
SIGNER = """
import { getSignedUrl, getSignedCookies } from "@aws-sdk/cloudfront-signer";
const { what, options } = JSON.parse(process.argv[1]);
const result = what === "url" ? getSignedUrl(options) : getSignedCookies(options);
process.stdout.write(JSON.stringify(result));
"""


@pytest.fixture(scope="session")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def amazon_signer() -> AmazonSigner:
    """Amazon's own signer, the npm package @aws-sdk/cloudfront-signer."""
    node = shutil.which("node")
    assert node, "Node is a requirement of the project"
    assert (REPOSITORY / "node_modules/@aws-sdk/cloudfront-signer").exists(), "run `npm ci`"

    def sign(what: str, options: dict[str, Any]) -> Any:
        request = json.dumps({"what": what, "options": options})
        done = subprocess.run(
            [node, "--input-type=module", "--eval", SIGNER, request],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return json.loads(done.stdout)

    return sign
