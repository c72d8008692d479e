from __future__ import annotations

import subprocess
import sys

import pytest

from media_api.settings import Settings
from media_platform.contract.environment import ApiEnvironment, InvalidEnvironmentError
from tests.unit.api.api_process import ROOT

COMPLETE = {
    **dict.fromkeys(ApiEnvironment.variable_names(), "text"),
    "UPLOAD_MAX_BYTES": "1000",
    "UPLOAD_EXPIRY_SECONDS": "600",
    "PLAYBACK_EXPIRY_SECONDS": "600",
    "QUOTA_VIDEOS": "100",
    "QUOTA_BYTES": "1000",
    "QUOTA_UPLOADS": "10",
    "RESTORE_DAYS": "30",
    "WEBHOOK_ALLOWED_NETWORKS": "none",
    "CACHE_URL": "none",
}


def test_a_complete_environment_is_read() -> None:
    settings = Settings.from_variables(COMPLETE)
    assert settings.environment.upload_max_bytes == 1000
    assert (settings.listening.host, settings.listening.port) == ("0.0.0.0", 8080)  # noqa: S104


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("127.0.0.1:9000", "127.0.0.1", 9000), ("[::1]:80", "::1", 80)],
)
def test_the_local_plane_may_set_the_address(address: str, host: str, port: int) -> None:
    settings = Settings.from_variables({**COMPLETE, "LISTEN_ADDRESS": address})
    assert (settings.listening.host, settings.listening.port) == (host, port)


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("UPLOAD_MAX_BYTES", "0", "UPLOAD_MAX_BYTES is 0, which is not from 1 to"),
        ("UPLOAD_EXPIRY_SECONDS", "604801", "not from 1 to 604800"),
        ("PLAYBACK_EXPIRY_SECONDS", "-1", "PLAYBACK_EXPIRY_SECONDS is -1"),
        ("UPLOAD_MAX_BYTES", str(5 * 1024**4 + 1), "not from 1 to 5497558138880"),
        ("QUOTA_UPLOADS", "0", "QUOTA_UPLOADS is 0, which is not from 1 to"),
        ("UPLOAD_MAX_BYTES", "many", "UPLOAD_MAX_BYTES is 'many', not int"),
        ("CACHE_URL", "valkey", "CACHE_URL is 'valkey', not rediss://<host>:<port>; "),
        ("WEBHOOK_ALLOWED_NETWORKS", "any", "WEBHOOK_ALLOWED_NETWORKS is 'any'"),
        ("LISTEN_ADDRESS", "8080", "LISTEN_ADDRESS is '8080', not <host>:<port>"),
        ("LISTEN_ADDRESS", "host:99999", "not <host>:<port>"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str, part: str) -> None:
    with pytest.raises(InvalidEnvironmentError) as caught:
        Settings.from_variables({**COMPLETE, name: value})
    assert part in str(caught.value)


def test_a_bare_start_names_every_missing_variable_in_one_line() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "media_api"],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'runtime/api'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 78
    assert ended.stderr.count("\n") == 1
    assert all(f"{name} is missing" in ended.stderr for name in ApiEnvironment.variable_names())
