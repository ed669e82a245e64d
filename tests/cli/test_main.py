"""The command line as a whole: exit codes, help, quiet ends, terminals, completion."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.cli.recorded import RecordedServer
from volstore.agent.settings import SETTINGS

VOLSTORE = [sys.executable, "-c", "import sys; from volstore.cli import main; sys.exit(main())"]


async def test_help_says_what_exit_codes_mean(cli: Cli) -> None:
    for spelling in ("-h", "-help", "--help"):
        result = await cli(spelling)
        assert result.code == 0
        assert "Exit codes: 0 done, 1 refused, not found or failed, 2 wrong arguments" in result.stdout


async def test_every_command_has_help(cli: Cli) -> None:
    for command in ("agent", "volume status", "volume register", "volume deregister", "volume init", "plugin status"):
        assert (await cli(*command.split(), "--help")).stdout.startswith(f"Usage: volstore {command}")
    for command in ("server members", "status", "version", "journal verify", "journal dump", "completion"):
        assert (await cli(*command.split(), "--help")).stdout.startswith(f"Usage: volstore {command}")


async def test_no_command_is_a_wrong_argument_and_shows_the_help(cli: Cli) -> None:
    for arguments in ([], ["volume"]):
        result = await cli(*arguments)
        assert (result.code, result.stdout) == (2, "")
        assert "Commands:" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["volumes"],
        ["volume", "status", "-nope"],
        ["volume", "status", "a", "two\nlines"],
        ["volume", "status", "-type", "host"],
        ["completion"],
    ],
)
async def test_wrong_arguments_are_exit_code_2_and_one_line(arguments: list[str], cli: Cli) -> None:
    result = await cli(*arguments)
    assert (result.code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("Error: ")
    assert "--help" in result.stderr


async def test_an_argument_or_variable_that_is_not_utf_8_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    argument = await cli("volume", "status", "\udcff")
    assert (argument.code, argument.stderr) == (2, "Error: the argument '\\udcff' is not UTF-8\n")
    monkeypatch.setenv("VOLSTORE_NAMESPACE", "\udcff")
    variable = await cli("volume", "status")
    assert (variable.code, variable.stderr) == (1, "Error: the namespace given is not UTF-8\n")


async def test_a_long_flag_with_one_dash_that_is_unknown_is_named_whole(cli: Cli) -> None:
    assert "'--plugin_id'" in (await cli("volume", "status", "-plugin_id", "x")).stderr


async def test_an_argument_after_two_dashes_is_no_flag(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/volume/csi/-json", json={"ID": "-json"})
    assert (await cli("volume", "status", "--", "-json")).code == 0


async def test_a_bad_address_is_told_in_one_line(cli: Cli) -> None:
    result = await cli("volume", "status", "-address=ftp://x")
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr == "Error: bad address 'ftp://x': write one like http://127.0.0.1:4646\n"


async def test_flags_say_where_and_as_whom_to_ask(
    server: RecordedServer, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOLSTORE_ADDR", "http://127.0.0.1:1")
    server.will_answer("GET", "/v1/volumes?namespace=n&region=r&type=csi", json=[])
    flags = [f"-address={server.url}", "-token", "t", "-namespace=n", "--region", "r", "-no-color"]
    assert (await cli("volume", "status", *flags)).code == 0
    assert server.asked[0].headers["X-Nomad-Token"] == "t"


async def test_version_is_the_installed_one(cli: Cli) -> None:
    assert (await cli("version")).stdout == f"volstore v{version('volstore')}\n"


async def test_agent_help_shows_every_setting_as_flag_variable_and_key(cli: Cli) -> None:
    shown = " ".join((await cli("agent", "--help")).stdout.split())
    for setting in SETTINGS:
        assert (f"{setting.option} {setting.metavar}" in shown) is not setting.switch
        assert f"{setting.option} " in shown
        assert f"[{setting.variable}; {setting.name}; default: {setting.default}]" in shown
    for flag in ("--config FILE", "--dev", "--fresh"):
        assert flag in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Error: data_dir is not set: give --data-dir"),
        (["--fresh"], "Error: --fresh is for --dev only"),
        (["-config", "nowhere.toml"], "Error: can't read the configuration file nowhere.toml"),
        (["-data-dir=d", "-http-addr=x"], "Error: http_addr (flag --http-addr): 'x' is not HOST:PORT"),
        (["--dev", "--data-dir=."], "was not made by `volstore agent --dev`"),
    ],
)
async def test_an_agent_that_is_told_wrong_does_not_start(
    arguments: list[str], expected: str, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "not-ours").touch()
    result = await cli("agent", *arguments)
    assert (result.code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert expected in result.stderr


async def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """volstore in a process of its own, beside the loop that the server runs on."""

    def wait() -> subprocess.CompletedProcess[str]:
        return subprocess.run([*VOLSTORE, *arguments], text=True, timeout=60, check=False, **more)

    return await asyncio.to_thread(wait)


async def test_a_reader_that_has_enough_is_no_error(server: RecordedServer) -> None:
    many = [{"ID": f"volume-{number}", "Name": "n" * 100} for number in range(5_000)]
    server.will_answer("GET", "/v1/volumes?type=csi", json=many)
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = await run("volume", "status", stdout=write_end, stderr=subprocess.PIPE)
    finally:
        os.close(write_end)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
async def test_output_that_can_not_be_written_is_told() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = await run("version", stdout=full, stderr=subprocess.PIPE)
    finally:
        os.close(full)
    assert done.stderr == "Error: can't write the output: No space left on device\n"
    assert done.returncode == 1


async def test_an_interrupt_ends_quietly() -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    address = f"-address=http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        process = await asyncio.create_subprocess_exec(
            *VOLSTORE, "volume", "status", address, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        await asked.wait()
        process.send_signal(2)
        printed = await process.communicate()
    assert printed == (b"", b"")
    assert process.returncode == 130


async def on_a_terminal(*arguments: str) -> str:
    """What volstore prints to a terminal."""
    ours, theirs = pty.openpty()
    try:
        environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm-256color"}
        done = await run(*arguments, stdout=theirs, stderr=theirs, env=environ)
        assert done.returncode == 0
        return os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)


async def test_a_terminal_gets_colours_and_a_pipe_does_not(server: RecordedServer) -> None:
    listed = [{"ID": "v\x1b]0;x\x07", "Name": "[bold]n", "Schedulable": False}]
    for _ in range(4):
        server.will_answer("GET", "/v1/volumes?type=csi", json=listed)
    server.will_answer("GET", "/v1/volume/csi/v", json=listed[0])

    colourful = await on_a_terminal("volume", "status")
    asked_not_to = await on_a_terminal("volume", "status", "-no-color")
    one = await on_a_terminal("volume", "status", "-short", "v")
    piped = await run("volume", "status", capture_output=True)

    assert "\x1b[31mfalse" in colourful
    assert "\x1b[1m" in one
    assert "[bold]n" in colourful
    assert "\x1b]0" not in colourful
    assert "\x1b" not in asked_not_to
    assert "\x1b" not in piped.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion_prints_a_script_for_each_shell(shell: str, cli: Cli) -> None:
    result = await cli("completion", shell)
    assert result.code == 0
    assert "_VOLSTORE_COMPLETE" in result.stdout
    assert "volstore" in result.stdout


async def test_completion_of_other_shells_is_refused(cli: Cli) -> None:
    assert (await cli("completion", "tcsh")).code == 2


async def completed(words: str, **environ: str) -> list[str]:
    """What bash is offered for the last of `words`."""
    number = len(words.split(" ")) - 1
    asking = {"_VOLSTORE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    done = await run(capture_output=True, env=dict(os.environ) | asking | environ)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


async def test_commands_and_ids_are_completed(server: RecordedServer) -> None:
    server.will_answer("GET", "/v1/volumes?prefix=v&type=csi", json=[{"ID": "v1"}, {"ID": "v2"}])
    server.will_answer("GET", "/v1/plugins?type=csi", json=[{"ID": "ebs"}, {"ID": "nfs"}])

    assert await completed("volstore vol") == ["volume"]
    assert await completed("volstore volume ") == [
        "claim",
        "deregister",
        "detach",
        "init",
        "register",
        "release",
        "status",
    ]
    assert await completed("volstore volume status v") == ["v1", "v2"]
    assert await completed("volstore plugin status e") == ["ebs"]
    server.will_answer("GET", "/v1/volumes?prefix=w&type=csi", json=[{"ID": "w1"}])
    assert await completed("volstore volume claim w") == ["w1"]
    server.will_answer("GET", "/v1/nodes?prefix=n", json=[{"ID": "n1"}])
    assert await completed("volstore node status n") == ["n1"]


async def test_completion_without_a_server_offers_nothing_and_says_nothing() -> None:
    nowhere = {"VOLSTORE_ADDR": "http://127.0.0.1:1"}
    assert await completed("volstore volume status v", **nowhere) == []
    assert await completed("volstore plugin status e", **nowhere) == []
    assert await completed("volstore volume status v", VOLSTORE_ADDR="ftp://x") == []
