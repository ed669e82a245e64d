"""`volstore journal`: what it says of a sound, a damaged and a used log, without changing any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.storage.disk import RealDisk
from cluster.storage.journal import Journal
from tests.cli.conftest import Cli


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A stopped node's data directory, with three entries of two terms."""
    directory = tmp_path / "data"
    disk = RealDisk(directory)
    disk.lock()
    journal = Journal.open(disk)
    journal.set_vote(1, "n1")
    journal.append(b"hunter2-one", 1)
    journal.append(b"hunter2-two", 1)
    journal.append(b"hunter2-three", 2)
    await journal.sync()
    await journal.close()
    disk.close()
    return directory


def content(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


async def test_a_sound_journal_is_summed_up(data: Path, cli: Cli) -> None:
    before = content(data)

    result = await cli("journal", "verify", str(data))
    as_json = await cli("journal", "verify", "-json", str(data))

    assert (result.code, result.stderr) == (0, "")
    lines = dict(line.split(" = ") for line in (" ".join(line.split()) for line in result.stdout.splitlines()))
    assert (lines["Ok"], lines["First index"], lines["Last index"]) == ("true", "1", "3")
    assert (lines["Voted for"], lines["Entry terms"]) == ("n1", "1 2")
    report = json.loads(as_json.stdout)
    assert (report["ok"], report["entry_terms"], report["problems"]) == (True, [1, 2], [])
    assert content(data) == before


async def test_a_dump_has_a_line_for_each_record_and_no_payload(data: Path, cli: Cli) -> None:
    result = await cli("journal", "dump", str(data))
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.code == 0
    assert [record["index"] for record in records if record["kind"].lower() == "entry"] == [1, 2, 3]
    assert "hunter2" not in result.stdout


async def test_damage_is_told_with_its_place_and_left_as_it_is(data: Path, cli: Cli) -> None:
    damage(data)
    before = content(data)

    result = await cli("journal", "verify", str(data))

    assert result.code == 1
    assert "Ok " in result.stdout
    assert "= false" in result.stdout
    assert result.stdout.splitlines()[-2].split()[:2] == ["File", "Offset"]
    assert result.stderr == f"{data}: the journal is damaged\n"
    dumped = await cli("journal", "dump", str(data))
    assert dumped.code == 1
    assert "problem" in json.loads(dumped.stdout.splitlines()[-1])
    assert content(data) == before


def damage(directory: Path) -> None:
    """Flips a bit in the first entry, with sound ones after it."""
    segment = next(path for path in directory.rglob("*") if path.is_file() and b"hunter2-one" in path.read_bytes())
    segment.write_bytes(segment.read_bytes().replace(b"hunter2-one", b"hunter3-one"))


async def test_a_journal_that_a_node_uses_is_left_alone(data: Path, cli: Cli) -> None:
    disk = RealDisk(data)
    disk.lock()
    try:
        for command in ("verify", "dump"):
            result = await cli("journal", command, str(data))
            assert result.code == 1
            assert result.stdout == ""
            assert "the data directory is in use by process" in result.stderr
    finally:
        disk.close()


async def test_a_directory_that_is_not_there_is_told(cli: Cli) -> None:
    for command in ("verify", "dump"):
        result = await cli("journal", command, "nowhere")
        assert (result.code, result.stderr) == (1, "nowhere is not a directory\n")


async def test_a_directory_without_a_journal_is_not_called_sound(cli: Cli, tmp_path: Path) -> None:
    for command in ("verify", "dump"):
        result = await cli("journal", command, str(tmp_path))
        assert (result.code, result.stdout) == (1, "")
        assert result.stderr == f"{tmp_path} holds no journal; is it a node's data directory?\n"
