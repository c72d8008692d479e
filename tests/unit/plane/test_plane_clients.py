"""Clients of the emulator are the same in every shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from mediactl.local.aws import new_client
from mediactl.local.plane import Plane


def test_settings_of_an_account_do_not_reach_the_emulator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nregion = mars-1\n[profile x]\nrole_arn = broken\n")
    for name, value in {
        "AWS_PROFILE": "no-such-profile",
        "AWS_CONFIG_FILE": str(config),
        "AWS_ACCESS_KEY_ID": "of-the-account",
        "AWS_SECRET_ACCESS_KEY": "of-the-account",
        "AWS_ENDPOINT_URL_SQS": "http://example.invalid",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    client = new_client("http://127.0.0.1:4566", "sqs", "eu-west-1")
    assert client.meta.endpoint_url == "http://127.0.0.1:4566"
    assert client.meta.region_name == "eu-west-1"
    assert client.meta.config.proxies == {}
    assert client._request_signer._credentials.access_key == "test"


def test_down_makes_no_folder_where_there_was_no_plane(tmp_path: Path) -> None:
    assert Plane(tmp_path / "state", app=tmp_path).down() is False
    assert not (tmp_path / "state").exists()
