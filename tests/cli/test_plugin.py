"""`volstore plugin status`: what the recordings don't show."""

from __future__ import annotations

from tests.cli.conftest import Cli
from tests.cli.recorded import RecordedServer


async def test_a_prefix_of_one_plugin_shows_it(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/plugin/csi/e", status=404, text="plugin not found")
    server.will_answer("GET", "/v1/plugins?prefix=e&type=csi", json=[{"ID": "ebs"}, {"ID": "nfs"}])
    server.will_answer("GET", "/v1/plugin/csi/ebs", json={"ID": "ebs", "Provider": "aws", "NodesExpected": 3})

    result = await cli("plugin", "status", "e")

    assert result.code == 0
    assert "Provider             = aws\n" in result.stdout
    assert "Nodes Expected       = 3\n" in result.stdout


async def test_a_prefix_of_many_plugins_lists_them_and_fails(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/plugin/csi/e", status=404, text="plugin not found")
    server.will_answer("GET", "/v1/plugins?prefix=e&type=csi", json=[{"ID": "ebs"}, {"ID": "efs"}, {"ID": "nfs"}])

    result = await cli("plugin", "status", "e")

    assert result.code == 1
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["ID", "ebs", "efs"]
    assert result.stderr == 'Prefix "e" matched multiple plugins (2); give the whole ID\n'


async def test_an_unknown_plugin_is_told(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/plugin/csi/nope", status=404, text="plugin not found")
    server.will_answer("GET", "/v1/plugins?prefix=nope&type=csi", json=[])
    result = await cli("plugin", "status", "nope")
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr == 'No plugin(s) with prefix or ID "nope" found\n'


async def test_a_list_of_no_plugins_says_so(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/plugins?type=csi", json=[])
    result = await cli("plugin", "status")
    assert (result.code, result.stdout, result.stderr) == (0, "Container Storage Interface\n", "No CSI plugins\n")


async def test_a_template_prints_a_plugin(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/plugin/csi/ebs", json={"ID": "ebs", "Nodes": {"n": {"Healthy": True}}})
    result = await cli("plugin", "status", "-t", "{{.ID}} {{range .Nodes}}{{.Healthy}}{{end}}", "ebs")
    assert result.stdout == "ebs true\n"
