"""Files for their owner alone: never through a link, never half there."""

from __future__ import annotations

from pathlib import Path

import pytest

from volstore.private_files import create_private, replace_private


def test_a_new_file_is_its_owners_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    create_private(path, b"one")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one", 0o600)
    with pytest.raises(FileExistsError):
        create_private(path, b"two")
    assert path.read_bytes() == b"one"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_bytes(b"mine")
    link.symlink_to(victim)
    with pytest.raises(FileExistsError):
        create_private(link, b"theirs")
    replace_private(link, b"theirs")
    assert (victim.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"mine", b"theirs", False)


def test_a_link_laid_under_the_old_temporary_name_is_left_alone(tmp_path: Path) -> None:
    """`snapshot save FILE` once wrote to FILE.unfinished, and through a link that lay there."""
    victim, target = tmp_path / "victim", tmp_path / "backup"
    victim.write_bytes(b"mine")
    (tmp_path / "backup.unfinished").symlink_to(victim)
    replace_private(target, b"backup")
    assert (victim.read_bytes(), target.read_bytes()) == (b"mine", b"backup")


def test_a_replacement_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    (target / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        replace_private(target, b"file")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
