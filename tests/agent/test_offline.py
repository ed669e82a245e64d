"""What is done to data directories without an agent: --dev's is made and wiped, and only ever that one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.storage.disk import RealDisk
from volstore.agent.offline import DEV_MARKER, OfflineError, prepare_dev_directory, verify_journal


def content(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "dev"
    prepare_dev_directory(directory, fresh=False)
    assert content(directory) == [DEV_MARKER]
    assert directory.stat().st_mode & 0o777 == 0o700


def test_what_is_there_is_kept_between_runs(tmp_path: Path) -> None:
    directory = tmp_path / "dev"
    prepare_dev_directory(directory, fresh=False)
    (directory / "segment").write_text("precious")
    prepare_dev_directory(directory, fresh=False)
    assert (directory / "segment").read_text() == "precious"


def test_fresh_wipes_it(tmp_path: Path) -> None:
    directory, elsewhere = tmp_path / "dev", tmp_path / "elsewhere"
    prepare_dev_directory(directory, fresh=True)
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    (directory / "snapshots").mkdir()
    (directory / "snapshots" / "1-1.snap").touch()
    (directory / "segment").touch()
    (directory / "link").symlink_to(elsewhere)

    prepare_dev_directory(directory, fresh=True)

    assert content(directory) == [DEV_MARKER]
    assert content(elsewhere) == ["precious"]


@pytest.mark.parametrize("fresh", [False, True])
def test_a_directory_of_others_is_left_alone(tmp_path: Path, fresh: bool) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(OfflineError, match="was not made by `volstore agent --dev`"):
        prepare_dev_directory(tmp_path, fresh=fresh)
    assert content(tmp_path) == ["thesis.txt"]


def test_a_directory_behind_a_link_is_left_alone(tmp_path: Path) -> None:
    directory, link = tmp_path / "dev", tmp_path / "link"
    prepare_dev_directory(directory, fresh=False)
    link.symlink_to(directory)
    with pytest.raises(OfflineError, match="is not a directory of volstore"):
        prepare_dev_directory(link, fresh=True)
    assert content(directory) == [DEV_MARKER]


def test_a_file_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dev").touch()
    with pytest.raises(OfflineError, match="is not a directory of volstore"):
        prepare_dev_directory(tmp_path / "dev", fresh=True)


def test_a_directory_that_an_agent_has_is_not_wiped(tmp_path: Path) -> None:
    directory = tmp_path / "dev"
    prepare_dev_directory(directory, fresh=False)
    (directory / "segment").touch()
    disk = RealDisk(directory)
    disk.lock()
    try:
        with pytest.raises(
            OfflineError, match=r"dev: the data directory is in use by process \d+; stop that one first"
        ):
            prepare_dev_directory(directory, fresh=True)
    finally:
        disk.close()
    assert (directory / "segment").exists()
    prepare_dev_directory(directory, fresh=True)
    assert not (directory / "segment").exists()


def test_a_directory_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(OfflineError, match="No such file or directory"):
        prepare_dev_directory(tmp_path / "no" / "dev", fresh=False)


def test_a_name_that_no_directory_can_have_is_told() -> None:
    with pytest.raises(OfflineError, match="File name too long"):
        verify_journal(Path("x" * 300))
