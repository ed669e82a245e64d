"""What the real `nomad` commands sent and printed is what ours send and print, but for the differences named here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.cli.recorded import RecordedServer, meaning, steps

OURS = (["volume"], ["plugin"], ["node"], ["status"], ["server", "members"])
NOT_OURS = (["volume", "create"], ["volume", "snapshot"])

# Where ours differ on purpose from the recorded command, by its arguments.
DIFFERENT = {
    "volume register bad.hcl": "ours refuses a file that it can't read; Nomad sends an empty volume",
    "volume register notype.hcl": "another text",
    "volume register host.hcl": "another text",
    "volume register unknown.hcl": "another text, and 1.1.0 sends what it understood",
    "volume register missing.hcl": "another text",
    "volume status nope": "ours also looks for a prefix, and says so",
    "volume status -plugin_id plugin-id1": "wrong flags are exit code 2, without the whole help",
    "node status": "ours keeps the server's order",
    "plugin status nope": "ours also looks for a prefix, and says so",
    "volume init fresh.hcl": "our example is another one",
    "volume register fresh.hcl": "our example is another one",
}


def recorded_commands(file: str) -> list[Any]:
    """The commands that are ours too and should do the same, with the files that they read."""
    files: dict[str, str] = {}
    found: list[Any] = []
    for step in steps(file):
        if step["step"] == "file":
            files[step["name"]] = step["content"]
        if step["step"] == "cli":
            arguments = step["args"]
            ours = any(arguments[: len(start)] == start for start in OURS)
            if ours and arguments[:2] not in NOT_OURS and " ".join(arguments) not in DIFFERENT:
                found.append(pytest.param(step, files, id=f"{len(found)}-{' '.join(arguments)}"))
    return found


def lay_out(files: dict[str, str]) -> None:
    for name, content in files.items():
        Path(name).write_text(content, encoding="utf-8")


def cells(text: str) -> list[list[str]]:
    return [re.split(r" {2,}", line.rstrip()) for line in text.splitlines()]


def same_text(ours: str, theirs: str) -> None:
    """Equal, cell by cell; the IDs that 0.11.3 cuts to eight characters are whole with us."""
    for our_line, their_line in zip(cells(ours), cells(theirs), strict=True):
        cut = len(their_line) > 1 and "=" not in their_line[0] and len(their_line[0]) == 8
        assert our_line[0].startswith(their_line[0]) if cut else our_line[0] == their_line[0], (our_line, their_line)
        assert our_line[1:] == their_line[1:]


def same_beginning(ours: str, theirs: str, arguments: list[str]) -> None:
    """The same text; a plugin's goes on with its instances, which Nomad's commands leave out."""
    if arguments[:2] == ["plugin", "status"]:
        ours = "".join(ours.splitlines(keepends=True)[: len(theirs.splitlines())])
    same_text(ours, theirs)


def covers(ours: Any, theirs: Any) -> bool:
    """Whether `ours` says all that `theirs` does; nothing at all is as good as a zero value."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return all(covers(ours.get(key), value) for key, value in theirs.items())
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(covers, ours, theirs))
    return bool(ours == theirs or not (ours or theirs))


@pytest.mark.parametrize(("step", "files"), recorded_commands("cli-0.11.3.jsonl"))
async def test_a_recorded_command_of_0_11_3_sends_and_prints_the_same(
    step: dict[str, Any], files: dict[str, str], server: RecordedServer, cli: Cli
) -> None:
    lay_out(files)
    server.will_replay(step["http"])

    result = await cli(*step["args"], stdin=files["volume.hcl"].encode())

    wanted = [(one["request"]["method"], one["request"]["path"]) for one in step["http"]]
    assert server.requests == wanted
    bodies = [meaning(one["request"].get("body")) for one in step["http"]]
    assert [meaning(asked.body) for asked in server.asked] == bodies
    assert result.code == step["exit"]
    if "-json" in step["args"]:
        ours = json.loads(result.stdout)
        assert ours == step["http"][-1]["response"]["json"]
        assert covers(ours, json.loads(step["stdout"]))
    else:
        same_beginning(result.stdout, step["stdout"], step["args"])
    same_error(result.stderr, step["stderr"])


def same_error(ours: str, theirs: str) -> None:
    """The same beginning, and the server's words; one line."""
    refused = re.fullmatch(r"(Error [a-z ]+: )Unexpected response code: (\d+) \((.*)\)\n", theirs)
    if refused:
        assert ours == f"{refused[1]}{refused[3]} ({refused[2]})\n"
    else:
        assert ours == theirs


REGISTERS = [one for one in recorded_commands("cli-1.1.0.jsonl") if one.values[0]["args"][1] == "register"]
SHOWS = [
    one
    for one in recorded_commands("cli-1.1.0.jsonl")
    if one.values[0]["args"][1] not in ("register", "deregister") and one.values[0]["exit"] == 0
]


@pytest.mark.parametrize(("step", "files"), REGISTERS)
async def test_a_recorded_register_of_1_1_0_sends_the_same(
    step: dict[str, Any], files: dict[str, str], server: RecordedServer, cli: Cli
) -> None:
    lay_out(files)
    server.will_replay(step["http"])

    result = await cli(*step["args"], stdin=files["volume.hcl"].encode())

    assert [meaning(asked.body) for asked in server.asked] == [meaning(step["http"][0]["request"]["body"])]
    assert result.code == step["exit"]
    same_error(result.stderr, step["stderr"])


@pytest.mark.parametrize(("step", "files"), SHOWS)
async def test_a_recorded_command_of_1_1_0_shows_the_same(
    step: dict[str, Any], files: dict[str, str], server: RecordedServer, cli: Cli
) -> None:
    """1.1.0 lists by prefix before it reads a volume; ours reads it at once, and so needs fewer of the answers."""
    server.will_replay(step["http"])

    result = await cli(*step["args"])

    assert result.code == 0
    assert server.requests[-1] == (step["http"][-1]["request"]["method"], step["http"][-1]["request"]["path"])
    if "-json" in step["args"]:
        assert covers(json.loads(result.stdout), json.loads(step["stdout"]))
    else:
        same_beginning(result.stdout, step["stdout"], step["args"])
    same_error(result.stderr, step["stderr"])


def test_the_recordings_hold_commands_to_compare() -> None:
    assert len(recorded_commands("cli-0.11.3.jsonl")) >= 20
    assert len(REGISTERS) >= 5
    assert len(SHOWS) >= 10
