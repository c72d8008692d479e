"""Writes every lock file anew from its ranges: one for development, one for each service."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
UV = Path(sys.executable).with_name("uv")
LOCKS: dict[str, list[str]] = {
    "requirements-dev.txt": [
        *("pyproject.toml", "--extra", "local", "--group", "dev"),
        *("runtime/api/requirements.in", "runtime/worker/requirements.in"),
    ],
    "runtime/api/requirements.txt": ["runtime/api/requirements.in"],
    "runtime/worker/requirements.txt": ["runtime/worker/requirements.in"],
    "runtime/scanner_clamav/requirements.txt": ["runtime/scanner_clamav/requirements.in"],
    "tests/unit/infra/checkov/requirements.txt": ["tests/unit/infra/checkov/requirements.in"],
    "cli/mediactl/local/emulator-requirements.txt": ["cli/mediactl/local/emulator-requirements.in"],
}


def main() -> None:
    """Resolve each set for every platform and Python from 3.11 on, with hashes."""
    for target, sources in LOCKS.items():
        command = [str(UV), "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
        command += ["--generate-hashes", "--no-header", "--no-annotate", "--upgrade"]
        subprocess.run([*command, "--output-file", target, *sources], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
