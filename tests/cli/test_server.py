"""`volstore server members` and `volstore status`: what the recordings don't show."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.conftest import Cli
from tests.cli.recorded import RecordedServer


def member(name: str, host: str, status: str = "alive") -> dict[str, Any]:
    tags = {"rpc_addr": host, "port": "4647", "build": "0.1.0", "dc": "dc1", "region": "global"}
    return {"Name": name, "Addr": host, "Port": 4648, "Status": status, "ProtocolCur": 2, "Tags": tags}


MEMBERS = {
    "ServerName": "a",
    "ServerRegion": "global",
    "ServerDC": "dc1",
    "Members": [member("b.global", "::1"), member("a.global", "10.0.0.1"), member("c.global", "10.0.0.3", "failed")],
}


async def test_members_are_in_order_and_one_leads(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/agent/members", json=MEMBERS)
    server.will_answer("GET", "/v1/status/leader?region=global", json="[::1]:4647")

    result = await cli("server", "members")

    assert result.code == 0
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    assert [(row[0], row[3], row[4]) for row in rows] == [
        ("a.global", "alive", "false"),
        ("b.global", "alive", "true"),
        ("c.global", "failed", "false"),
    ]


async def test_members_without_a_leader_are_shown_and_the_exit_code_tells(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/agent/members", json=MEMBERS)
    server.will_answer("GET", "/v1/status/leader?region=global", status=503, text="No cluster leader")

    result = await cli("server", "members")

    assert result.code == 1
    assert len(result.stdout.splitlines()) == 4
    assert result.stderr == "Error determining leader: No cluster leader (503)\n"


async def test_members_as_json_are_the_answer_itself(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/agent/members", json=MEMBERS)
    assert json.loads((await cli("server", "members", "-json")).stdout) == MEMBERS


async def test_status_sums_the_cluster_up(server: RecordedServer, cli: Cli) -> None:
    for _ in range(2):
        server.will_answer("GET", "/v1/agent/members", json=MEMBERS)
        server.will_answer("GET", "/v1/status/leader?region=global", json="10.0.0.1:4647")

    result = await cli("status")
    as_json = await cli("status", "--json")

    assert result.code == 0
    assert "Leader     = a.global (10.0.0.1:4647)\n" in result.stdout
    assert "Servers    = 2 of 3 alive\n" in result.stdout
    assert json.loads(as_json.stdout)["Leader"] == "10.0.0.1:4647"


async def test_status_without_a_leader_fails(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/agent/members", json=MEMBERS)
    server.will_answer("GET", "/v1/status/leader?region=global", status=503, text="No cluster leader")
    result = await cli("status")
    assert (result.code, result.stderr) == (1, "Error determining leader: No cluster leader (503)\n")
    assert "Leader     = <none>\n" in result.stdout


def matches(**found: list[str] | None) -> dict[str, Any]:
    return {"json": {"Matches": found, "Truncations": {}}}


async def test_status_of_a_prefix_finds_the_one_thing(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("PUT", "/v1/search", **matches(volumes=None, plugins=["ebs"]))
    server.will_answer("GET", "/v1/plugin/csi/ebs", json={"ID": "ebs"})
    result = await cli("status", "eb")
    assert result.code == 0
    assert "ID                   = ebs\n" in result.stdout


async def test_status_of_an_ambiguous_prefix_lists_what_matches_and_fails(server: RecordedServer, cli: Cli) -> None:
    for found in (matches(volumes=["e1"], plugins=["e2"]), matches(volumes=["e", "e1"], plugins=["e"])):
        server.will_answer("PUT", "/v1/search", **found)

    for expected in (2, 3):
        result = await cli("status", "e")
        assert result.code == 1
        assert "Volumes: e" in result.stdout
        assert "Plugins: e" in result.stdout
        assert result.stderr == f'Identifier "e" matched multiple things ({expected}); give the whole ID\n'


async def test_status_of_what_is_not_there_fails(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("PUT", "/v1/search", **matches(volumes=[], plugins=None))
    result = await cli("status", "nope")
    assert (result.code, result.stderr) == (1, 'No matches found for identifier "nope"\n')


async def test_a_server_that_refuses_is_quoted(server: RecordedServer, cli: Cli) -> None:
    for method, path in (("GET", "/v1/agent/members"), ("PUT", "/v1/search")):
        server.will_answer(method, path, status=403, text="Permission denied")
    assert (await cli("status")).stderr == "Error querying servers: Permission denied (403)\n"
    assert (await cli("status", "x")).stderr == "Error searching: Permission denied (403)\n"
