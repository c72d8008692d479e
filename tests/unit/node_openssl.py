"""OpenSSL as Node carries it: a judge of signatures that every machine of the project has."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from typing import Any

_PROGRAM = """
const crypto = require("node:crypto");
const { what, text, key, signature } = JSON.parse(process.argv[1]);
const bytes = Buffer.from(text, "base64");
if (what === "verify") {
  const good = crypto.verify("sha256", bytes, key, Buffer.from(signature, "base64"));
  process.stdout.write(JSON.stringify(good));
} else {
  const pair = crypto.generateKeyPairSync("ec", {
    namedCurve: "prime256v1",
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const made = crypto.sign("sha256", bytes, pair.privateKey).toString("base64");
  process.stdout.write(JSON.stringify({ public_key: pair.publicKey, signature: made }));
}
"""


def verifies(text: bytes, signature: bytes, public_key: str) -> bool:
    """Tell whether OpenSSL accepts an ECDSA signature over SHA-256."""
    return bool(_run(what="verify", text=_text(text), signature=_text(signature), key=public_key))


def sign_with_new_key(text: bytes) -> tuple[bytes, str]:
    """Return the signature of a key pair that OpenSSL made, and its public key (PEM)."""
    made = _run(what="sign", text=_text(text))
    return base64.b64decode(made["signature"]), made["public_key"]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _run(**request: str) -> Any:
    node = shutil.which("node")
    assert node, "Node is a requirement of the project"
    done = subprocess.run(
        [node, "--eval", _PROGRAM, json.dumps(request)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(done.stdout)
