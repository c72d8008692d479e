"""Sources as assets: the same bytes from a checkout and from an installed wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from infra_templates import REPOSITORY

from media_platform import assets
from media_platform.assets import Service


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def run(arguments: list[str], folder: Path, path: Path | None) -> subprocess.CompletedProcess[str]:
    """Run Python away from the checkout, with ``path`` in front of its modules."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def wheel(wheel_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as an installer would."""
    installed = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel_file) as opened:
        opened.extractall(installed)
    return installed


@pytest.mark.parametrize("service", Service)
def test_build_context_holds_what_the_service_needs(service: Service) -> None:
    names = set(contents(assets.build_context(service)))
    assert {"media_platform/__init__.py", "media_platform/contract/environment.py"} <= names
    assert not any(
        "__pycache__" in name or name.endswith((".pyc", ".in")) or name.startswith("tests/")
        for name in names
    )
    others = {"constructs", "stacks", "assets.py"}
    assert not any(f"media_platform/{other}" in name for name in names for other in others)
    if service in {Service.API, Service.WORKER}:
        assert {"Dockerfile", "requirements.txt"} <= names


@pytest.mark.parametrize("service", Service)
def test_wheel_and_checkout_stage_the_same_bytes(
    service: Service, wheel: Path, tmp_path: Path
) -> None:
    staged = tmp_path / "context"
    done = run(["-m", "media_platform.assets", service.value, str(staged)], tmp_path, wheel)
    assert done.returncode == 0, done.stderr
    assert contents(staged) == contents(assets.build_context(service))


def test_wheel_brings_no_package_but_its_own(wheel: Path) -> None:
    tops = {entry.name for entry in wheel.iterdir() if not entry.name.endswith(".dist-info")}
    assert tops == {"media_platform", "mediactl"}


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty; name a new or an empty one"):
        assets.write_build_context(Service.API, tmp_path)


def test_the_command_tells_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        assets.main(["api", str(tmp_path)])
    assert ended.value.code == 1
    assert "is not empty" in capsys.readouterr().err


def test_no_sources_no_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "_PACKAGE", tmp_path / "media_platform")
    with pytest.raises(FileNotFoundError, match="install media-platform from its wheel"):
        assets.runtime_folder()


def test_the_contract_needs_the_standard_library_only(tmp_path: Path) -> None:
    folder = REPOSITORY / "media_platform" / "contract"
    modules = sorted(file.stem for file in folder.glob("*.py") if file.stem != "__init__")
    assert "environment" in modules
    imports = ", ".join(f"media_platform.contract.{module}" for module in modules)
    program = (
        f"import sys; import {imports}; "
        "print([m for m in ('aws_cdk', 'jsii', 'constructs', 'boto3', 'botocore', 'pydantic') "
        "if m in sys.modules])"
    )
    done = run(["-c", program], tmp_path, REPOSITORY)
    assert done.stdout.strip() == "[]", done.stderr


def test_importing_the_constructs_makes_nothing_of_the_cdk(tmp_path: Path) -> None:
    """Node would load modules for it that an app may not need."""
    program = "import jsii, media_platform.constructs; print(jsii.kernel.stats().object_count)"
    done = run(["-c", program], tmp_path, REPOSITORY)
    assert done.stdout.strip() == "0", done.stderr
