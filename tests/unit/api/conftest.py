from __future__ import annotations

from collections.abc import Iterator

import pytest

from media_platform.contract.delivery import SigningKeyPair
from media_platform.contract.environment import ApiEnvironment
from tests.unit.api import api_issuer
from tests.unit.api.api_issuer import Issuer, serving_issuer
from tests.unit.api.api_keys import new_pair
from tests.unit.api.api_process import Api, free_port, running_api


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
    environment = ApiEnvironment(
        stage="test",
        home_region="eu-central-1",
        table_name="videos",
        raw_bucket="raw-bucket",
        media_bucket="media-bucket",
        token_issuer=api_issuer.ISSUER,
        token_jwks_url=issuer_of_api.url,
        token_client_id=api_issuer.CLIENT,
        delivery_parameter="/media-platform/test/delivery",
        upload_max_bytes=1_000_000,
        upload_expiry_seconds=600,
        playback_expiry_seconds=600,
    )
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    with running_api(environment, variables, tmp_path_factory.mktemp("api")) as api:
        yield api
