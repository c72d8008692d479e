"""No call of the services waits for ever, or is made more than a few times."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import media_api
from media_api.aws import open_services
from media_api.dynamodb import ATTEMPTS
from tests.unit.api.api_process import free_port

SERVICES = ("dynamodb", "s3", "sqs", "ssm", "secretsmanager", "cognito-idp")
SOURCES = Path(media_api.__file__).parent
MOST_ATTEMPTS = 5
LONGEST_SECONDS = 5


@pytest.mark.anyio
async def test_every_client_of_aws_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    async with open_services("eu-central-1", *SERVICES) as (table, *others):
        limits = table._session.timeout
        times = [limits.connect, limits.sock_connect, limits.sock_read]
        attempts = [ATTEMPTS]
        for client in others:
            config = client.meta.config
            times += [config.connect_timeout, config.read_timeout]
            attempts.append(config.retries["total_max_attempts"])
            assert config.retries["mode"] == "standard"
    assert all(0 < seconds <= LONGEST_SECONDS for seconds in times)
    assert all(1 <= count <= MOST_ATTEMPTS for count in attempts)


def test_clients_are_made_where_they_get_their_limits() -> None:
    """And those of the AWS services that are opened are the ones above."""
    made, opened = set(), set()
    for source in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in {"create_client", "client", "ClientSession", "PoolManager", "urlopen"}:
                made.add((source.relative_to(SOURCES).as_posix(), name))
            if name == "open_services":
                opened |= {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
    assert made == {
        ("aws.py", "create_client"),
        ("aws.py", "ClientSession"),
        # For keys of the issuer, and playlists without a copy here: ``fetch_document`` limits each.
        ("server.py", "ClientSession"),
        ("admin/server.py", "ClientSession"),
    }
    assert opened <= set(SERVICES)
