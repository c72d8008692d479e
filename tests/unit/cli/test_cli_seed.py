"""Seed files: what may stand in one, and what is refused before anything is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from mediactl.commands.seed import command
from mediactl.errors import REFUSED, USAGE, CommandError
from mediactl.seeds.seed_file import BUILT_IN, read_seed_file

USER = '[[users]]\nemail = "ada@acme.example"\ntenant = "acme"\n'
VIDEO = '[[videos]]\ntenant = "acme"\ntitle = "A film"\n'


def test_the_built_in_file_is_one() -> None:
    content = read_seed_file(BUILT_IN)
    assert content.populated == ["acme", "globex"]
    assert all(video.sample for video in content.videos)
    # Whoever knows this file must not know how to sign in.
    assert all(user.password is None for user in content.users)
    # Stages may have no operators.
    assert content.tenants == []


def test_an_empty_file_asks_for_nothing(tmp_path: Path) -> None:
    file = tmp_path / "seed.toml"
    file.write_text("")
    assert read_seed_file(file).populated == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("users = 1", "users is 1"),
        ("user = []", "user is not known"),
        ("[[users]", "it is no TOML"),
        ('[[users]]\nemail = "ada@acme.example"\n', "users[1].tenant is missing"),
        (USER + "age = 7\n", "users[1].age is not known"),
        (USER + 'groups = ["owner"]\n', "users[1].groups[1] is 'owner'"),
        (USER + "groups = []\n", "users[1].groups is []"),
        (USER + 'password = "short"\n', "users[1].password is too weak"),
        (USER + 'password = "Correct-Horse-7"\ninvite = true\n', "it can be one of both"),
        (USER + USER, "user ada@acme.example stands there 2 times"),
        (USER.replace("@acme", ""), "which is no e-mail address"),
        (USER.replace('"acme"', '"a/b"'), "users[1].tenant is 'a/b'"),
        ('[[tenants]]\nname = ""\n', "tenants[1].name is ''"),
        (
            '[[tenants]]\nname = "acme"\nquota = { videos = 1 }\n',
            "tenants[1].quota.stored_bytes is missing",
        ),
        (VIDEO, "videos[1] needs either file or sample"),
        (VIDEO + 'file = "a.mp4"\nsample = {}\n', "videos[1] needs either file or sample"),
        (VIDEO + 'file = "a.mp4"\n', "there is no file"),
        (VIDEO + 'file = "seed.toml"\n', "is not a video type"),
        (VIDEO + "sample = { seconds = 0 }\n", "videos[1].sample.seconds is 0"),
        (VIDEO + "sample = { width = 641 }\n", "videos[1].sample.width is 641"),
        (VIDEO + 'sample = {}\nvisibility = "ALL"\n', "videos[1].visibility is 'ALL'"),
        ((VIDEO + "sample = {}\n") * 2, "video 'A film' of tenant acme stands there 2 times"),
    ],
)
def test_what_is_wrong_is_told_in_a_line_that_names_the_place(
    text: str, told: str, tmp_path: Path
) -> None:
    file = tmp_path / "seed.toml"
    file.write_text(text)
    with pytest.raises(CommandError) as refused:
        read_seed_file(file)
    assert told in str(refused.value)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == USAGE


def test_a_protected_environment_has_to_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "mediactl.toml"
    settings.write_text('[environments.prod]\nregions = ["us-east-1"]\nprotected = true\n')
    monkeypatch.setenv("MEDIACTL_CONFIG", str(settings))
    with pytest.raises(CommandError, match="protected") as refused:
        command.main(["-e", "prod"], standalone_mode=False)
    assert refused.value.exit_code == REFUSED
