"""`volstore keys`: files of keys are made and rotated, and every mistake in one is told without showing a key."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.storage.sealing import key_id_of, key_name
from tests.cli.conftest import Result
from volstore.agent.keys import KeysError, node_keys, read_keys
from volstore.cli import main

Cli = Callable[..., Result]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line in this process; there is no server that it would have to wait for."""

    def run(*arguments: str) -> Result:
        code = main(arguments)
        return Result(code, *capsys.readouterr())

    return run


def test_a_file_is_made_for_its_owner_alone_and_rotated_with_the_old_keys_kept(cli: Cli) -> None:
    created = cli("keys", "create", "keys")
    assert re.fullmatch(r"keys  key [0-9a-f]{8}: keep it secret, and a copy of it safe\n", created.stdout)
    first = read_keys(Path("keys"))
    assert cli("keys", "rotate", "keys").code == 0
    second = read_keys(Path("keys"))
    assert second[1:] == first
    assert len(set(second)) == 2
    assert cli("keys", "list", "keys").stdout.split() == [key_name(key_id_of(key)) for key in second]
    assert [file.name for file in Path().iterdir()] == ["keys"]
    assert Path("keys").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_there_is_not_overwritten(cli: Cli) -> None:
    Path("keys").write_text("mine")
    assert cli("keys", "create", "keys") == Result(1, "", "keys exists already and is not overwritten\n")
    assert Path("keys").read_text() == "mine"


GOOD = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "keys holds no key: create one with `volstore keys create FILE`"),
        (b"# only words\n\n", "keys holds no key"),
        (b"\xff", "keys holds no keys: it isn't text"),
        (GOOD.encode() + b"\nsecret-but-wrong\n", "keys, line 2: a key is 32 random bytes in base64, 44 characters"),
        (base64.b64encode(bytes(16)), "keys, line 1: a key is 32 random bytes"),
        (f"{GOOD}\n{GOOD}\n".encode(), "keys: the same key twice"),
    ],
)
def test_a_file_that_holds_no_keys_is_told_and_left_as_it_was(cli: Cli, content: bytes, expected: str) -> None:
    Path("keys").write_bytes(content)
    for command in ("rotate", "list"):
        result = cli("keys", command, "keys")
        assert (result.code, result.stdout) == (1, "")
        assert result.stderr.startswith(expected)
        assert "secret-but-wrong" not in result.stderr
    assert Path("keys").read_bytes() == content


def test_a_file_that_can_not_be_read_or_written_is_told(cli: Cli) -> None:
    assert cli("keys", "rotate", "none").stderr == "can't read the keys in none: No such file or directory\n"
    assert cli("keys", "create", "none/keys").stderr == "can't write none/keys: No such file or directory\n"


def test_a_variable_gives_keys_where_no_file_does() -> None:
    other = base64.b64encode(bytes(range(32))).decode()
    for text in (f"{GOOD},{other}", f"{GOOD}\n{other}\n"):
        assert node_keys(None, {"VOLSTORE_ENCRYPTION_KEYS": text}) == [bytes(32), bytes(range(32))]
    assert node_keys(None, {}) == []
    with pytest.raises(KeysError, match="variable VOLSTORE_ENCRYPTION_KEYS, line 1: a key is"):
        node_keys(None, {"VOLSTORE_ENCRYPTION_KEYS": "x"})
    with pytest.raises(KeysError, match="both give keys"):
        node_keys(Path("keys"), {"VOLSTORE_ENCRYPTION_KEYS": GOOD})
