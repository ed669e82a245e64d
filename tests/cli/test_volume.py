"""`volstore volume`: what the recordings don't show."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.cli.conftest import Cli, read, write
from tests.cli.recorded import RecordedServer
from volstore.hcl.volume_file import parse


def volume(volume_id: str, **more: Any) -> dict[str, Any]:
    return {"ID": volume_id, "Name": "n", "PluginID": "p", "Namespace": "default", "Schedulable": True} | more


async def test_a_prefix_of_one_volume_shows_it(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/volume/csi/da", status=404, text="volume not found")
    server.will_answer("GET", "/v1/volumes?prefix=da&type=csi", json=[volume("data")])
    server.will_answer("GET", "/v1/volume/csi/data", json=volume("data"))

    result = await cli("volume", "status", "da")

    assert result.code == 0
    assert "ID                   = data\n" in result.stdout


async def test_a_prefix_of_many_volumes_lists_them_and_fails(server: RecordedServer, cli: Cli) -> None:
    for _ in range(2):
        server.will_answer("GET", "/v1/volume/csi/d", status=404, text="volume not found")
        server.will_answer("GET", "/v1/volumes?prefix=d&type=csi", json=[volume("d1"), volume("d2")])

    result = await cli("volume", "status", "d")
    as_json = await cli("volume", "status", "-json", "d")

    assert result.code == as_json.code == 1
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["ID", "d1", "d2"]
    assert result.stderr == 'Prefix "d" matched multiple volumes (2); give the whole ID\n'
    assert as_json.stdout == ""


async def test_an_unknown_id_is_told_in_one_line(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/volume/csi/nope", status=404, text="volume not found")
    server.will_answer("GET", "/v1/volumes?prefix=nope&type=csi", json=[])

    result = await cli("volume", "status", "nope")

    assert (result.code, result.stdout) == (1, "")
    assert result.stderr == 'No volume(s) with prefix or ID "nope" found\n'


async def test_a_refused_read_is_not_taken_for_an_unknown_id(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/volume/csi/v", status=403, text="Permission denied")
    result = await cli("volume", "status", "v")
    assert (result.code, result.stderr) == (1, "Error querying volume: Permission denied (403)\n")


async def test_in_all_namespaces_a_volume_is_read_where_it_is(server: RecordedServer, cli: Cli) -> None:
    listed = [volume("v", Namespace="prod"), volume("v2", Namespace="test")]
    server.will_answer("GET", "/v1/volumes?namespace=%2A&prefix=v&type=csi", json=listed)
    server.will_answer("GET", "/v1/volume/csi/v?namespace=prod", json=volume("v", Namespace="prod"))

    result = await cli("volume", "status", "-namespace=*", "v")

    assert result.code == 0
    assert "Namespace            = prod\n" in result.stdout


async def test_volumes_of_several_namespaces_show_theirs(server: RecordedServer, cli: Cli) -> None:
    listed = [volume("v", Namespace="prod"), volume("v", Namespace="test")]
    for query in ("namespace=%2A&type=csi", "namespace=%2A&prefix=v&type=csi"):
        server.will_answer("GET", f"/v1/volumes?{query}", json=listed)

    everything = await cli("volume", "status", "--namespace", "*")
    ambiguous = await cli("volume", "status", "--namespace", "*", "v")

    assert everything.stdout.splitlines()[1].split()[:2] == ["ID", "Namespace"]
    assert [line.split()[1] for line in everything.stdout.splitlines()[2:]] == ["prod", "test"]
    assert ambiguous.code == 1
    assert ambiguous.stdout == everything.stdout.removeprefix("Container Storage Interface\n")


async def test_a_list_can_be_of_some_plugins_only(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/volumes?plugin_id=p&type=csi", json=[])
    assert (await cli("volume", "status", "--plugin-id=p")).code == 0
    assert (await cli("volume", "status", "--plugin-id=p", "v")).code == 2


async def test_a_volume_shows_its_allocations_and_capabilities(server: RecordedServer, cli: Cli) -> None:
    hour_ago = (time.time_ns() // 10**9 - 3661) * 10**9
    stub = {
        "ID": "a" * 36,
        "NodeID": "b" * 36,
        "TaskGroup": "web",
        "JobVersion": 3,
        "DesiredStatus": "run",
        "ClientStatus": "running",
        "CreateTime": hour_ago,
        "ModifyTime": 0,
    }
    modes = [{"AccessMode": "x", "AttachmentMode": "y"}, {"AccessMode": "z", "AttachmentMode": "y"}]
    shown = volume(
        "v", Allocations=[stub], RequestedCapabilities=modes, MountOptions={"FSType": "ext4", "MountFlags": ["s"]}
    )
    for _ in range(3):
        server.will_answer("GET", "/v1/volume/csi/v", json=shown)

    usual, verbose, short = [await cli("volume", "status", *flags, "v") for flags in ([], ["-verbose"], ["-short"])]

    assert "Capabilities         = x/y, z/y\n" in usual.stdout
    assert "Mount Options        = fs_type: ext4 flags: [REDACTED]\n" in usual.stdout
    row = usual.stdout.splitlines()[-1].split()
    assert row[:6] == ["aaaaaaaa", "bbbbbbbb", "web", "3", "run", "running"]
    assert row[6:] == ["1h1m", "ago", "<none>"]
    assert "a" * 36 in verbose.stdout
    assert "Allocations" not in short.stdout


async def test_what_a_volume_is_called_can_not_steer_the_terminal(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/volumes?type=csi", json=[volume("v", Name="a\x1b[31m\nb\x9b")])
    result = await cli("volume", "status")
    assert r"a\x1b[31m\nb\x9b" in result.stdout
    assert "\x1b" not in result.stdout


async def test_an_id_with_odd_characters_is_asked_for_as_it_is(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/volume/csi/a%3Ab%2F%C3%A9", json=volume("a:b/é"))
    assert (await cli("volume", "status", "a:b/é")).code == 0


@pytest.mark.parametrize("spelling", [["--json"], ["-json"], ["-json=true"]])
async def test_json_is_the_answer_itself(spelling: list[str], server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/volumes?type=csi", json=[volume("é")])
    result = await cli("volume", "status", *spelling)
    assert json.loads(result.stdout) == [volume("é")]


async def test_a_template_goes_over_lists(server: RecordedServer, cli: Cli) -> None:
    for _ in range(3):
        server.will_answer("GET", "/v1/volumes?type=csi", json=[volume("a"), volume("b")])
    result = await cli("volume", "status", "-t", "{{range .}}{{.ID}};{{end}}")
    assert (result.code, result.stdout) == (0, "a;b;\n")
    assert (await cli("volume", "status", "-t{{len .}}")).stdout == "2\n"
    unfit = await cli("volume", "status", "-t", "{{.ID}}")
    assert (unfit.code, unfit.stdout) == (1, "")


async def test_a_bad_template_is_a_wrong_argument_and_asks_nothing(server: RecordedServer, cli: Cli) -> None:
    for template in (["-t", "{{.ID | x}}"], ["-t", "{{.ID}}", "--json"]):
        assert (await cli("volume", "status", *template)).code == 2
    assert server.asked == []


@pytest.mark.parametrize("flags", [[], ["-namespace=flag"]])
async def test_the_namespace_of_the_file_wins(flags: list[str], server: RecordedServer, cli: Cli) -> None:
    write("v.hcl", 'type = "csi"\nid = "v"\nnamespace = "prod"\n')
    server.will_answer("PUT", "/v1/volume/csi/v?namespace=prod", text="")
    assert (await cli("volume", "register", *flags, "v.hcl")).code == 0


async def test_the_volumes_of_a_list_go_at_once_for_each_namespace(server: RecordedServer, cli: Cli) -> None:
    volumes = [{"ID": "a", "Namespace": "prod"}, {"ID": "b"}, {"ID": "c", "Namespace": "prod"}]
    server.will_answer("PUT", "/v1/volume/csi/a?namespace=prod", text="")
    server.will_answer("PUT", "/v1/volume/csi/b", status=400, text="no")
    result = await cli("volume", "register", "-", stdin=json.dumps(volumes).encode())
    assert [asked.body for asked in server.asked] == [{"Volumes": volumes[::2]}, {"Volumes": volumes[1:2]}]
    assert (result.code, result.stderr) == (1, "Error registering volume: no (400); registered before it: a, c\n")


async def test_what_a_status_hides_is_warned_of_when_it_is_registered(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("PUT", "/v1/volume/csi/v", text="")
    result = await cli("volume", "register", "-", stdin=b'{"ID": "v", "ModifyIndex": 7, "Secrets": null}')
    assert (result.code, server.asked[0].body) == (0, {"Volumes": [{"ID": "v"}]})
    assert result.stderr.startswith('Warning: volume "v" comes from an answer of the API, which hides secrets and')


async def test_warnings_of_the_server_are_shown(server: RecordedServer, cli: Cli) -> None:
    write("v.hcl", 'type = "csi"\nid = "v"\n')
    server.will_answer("PUT", "/v1/volume/csi/v", json={"Volumes": [], "Warnings": "mind the gap"})
    result = await cli("volume", "register", "v.hcl")
    assert (result.code, result.stdout, result.stderr) == (0, "", "Warning: mind the gap\n")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "bad.hcl",
            b'type = "csi"\nid = \n',
            "Error decoding the volume definition: bad.hcl:3:1: the file ends too early: a value is missing on line 2",
        ),
        ("notype.hcl", b'id = "x"\n', "unknown volume type: there is no type"),
        ("host.hcl", b'type = "host"\nid = "x"\n', 'host.hcl:1:1: unknown volume type "host"'),
        ("unknown.hcl", b'type = "csi"\nid = "x"\nnonsense = 1\n', "unknown.hcl:3:1: unexpected key nonsense"),
        ("latin.hcl", b'type = "csi"\nid = "\xe9"\n', "Failed to read latin.hcl: byte 19 is not UTF-8"),
        ("large.hcl", b"#" * ((4 << 20) + 1), "Failed to read large.hcl: it is larger than 4194304 bytes"),
        ("missing.hcl", None, "Failed to read missing.hcl: No such file or directory"),
    ],
)
async def test_a_file_that_is_no_volume_sends_nothing(
    name: str, content: bytes | None, expected: str, server: RecordedServer, cli: Cli
) -> None:
    if content is not None:
        write(name, content)

    result = await cli("volume", "register", name)

    assert (result.code, result.stdout, server.asked) == (1, "", [])
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


async def test_stdin_is_called_so(cli: Cli) -> None:
    result = await cli("volume", "register", "-", stdin=b"id = ")
    assert "stdin:1:6: the file ends too early" in result.stderr


@pytest.mark.parametrize(
    ("flags", "query"),
    [
        ([], ""),
        (["-force"], "?force=true"),
        (["--force", "-yes"], "?force=true"),
        (["-force=true"], "?force=true"),
        (["-force=false"], ""),
    ],
)
async def test_deregister_asks_for_exactly_this_id(
    flags: list[str], query: str, server: RecordedServer, cli: Cli
) -> None:
    server.will_answer("DELETE", f"/v1/volume/csi/v{query}", text="")
    result = await cli("volume", "deregister", *flags, "v")
    assert (result.code, result.stdout, result.stderr) == (0, "", "")


async def test_a_refused_deregistration_says_why(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("DELETE", "/v1/volume/csi/v", status=409, text="volume in use: v")
    result = await cli("volume", "deregister", "v")
    assert (result.code, result.stderr) == (1, "Error deregistering volume: volume in use: v (409)\n")


async def test_deregister_takes_no_empty_id(server: RecordedServer, cli: Cli) -> None:
    assert (await cli("volume", "deregister", "")).code == 2
    assert (await cli("volume", "deregister")).code == 2
    assert server.asked == []


@pytest.mark.parametrize(
    ("arguments", "name"), [([], "volume.hcl"), (["-json"], "volume.json"), (["mine.hcl"], "mine.hcl")]
)
async def test_init_writes_an_example_that_can_be_registered(arguments: list[str], name: str, cli: Cli) -> None:
    first = await cli("volume", "init", *arguments)
    written = read(name)
    again = await cli("volume", "init", *arguments)

    assert (first.code, first.stdout) == (0, f"Example volume specification written to {name}\n")
    assert parse(written, name).volumes[0]["PluginID"] == "plugin-id1"
    assert (again.code, again.stderr) == (1, f'Volume specification "{name}" already exists\n')
    assert read(name) == written


async def test_init_says_when_it_can_not_write(cli: Cli) -> None:
    result = await cli("volume", "init", "nowhere/volume.hcl")
    assert (result.code, result.stderr) == (1, "Failed to write nowhere/volume.hcl: No such file or directory\n")
