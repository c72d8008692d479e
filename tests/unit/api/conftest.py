from __future__ import annotations

from collections.abc import Iterator

import pytest

from media_platform.contract.delivery import SigningKeyPair
from tests.unit.api.api_issuer import Issuer, serving_issuer
from tests.unit.api.api_keys import new_pair
from tests.unit.api.api_process import Api, api_environment, free_port, running_api


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="session")
def pair() -> SigningKeyPair:
    return new_pair()


@pytest.fixture(scope="session")
def issuer_of_api() -> Iterator[Issuer]:
    with serving_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory, issuer_of_api: Issuer) -> Iterator[Api]:
    """An API whose table, buckets and secrets do not answer."""
    environment = api_environment(token_jwks_url=issuer_of_api.url)
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    with running_api(environment, variables, tmp_path_factory.mktemp("api")) as api:
        yield api
