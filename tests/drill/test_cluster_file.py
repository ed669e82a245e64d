"""The file of an existing cluster is read strictly: what is wrong is named with what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from volstore.drill.cluster_file import ClusterFile, read
from volstore.drill.target import Fault, FaultKind, TargetError, TargetNode

GOOD = """
command_timeout = "10s"
[[nodes]]
name = "s1"
url = "http://10.0.0.1:4646/"
values = { unit = "volstore@1" }
[[nodes]]
name = "s2"
url = "http://10.0.0.2:4646"
values = { unit = "volstore@2" }
[nodes.faults.kill]
do = "reset-power {node}"
heal = ["power-on {node}", "wait-for {host}"]
[[nodes]]
name = "s3"
url = "http://[fd00::3]:4646"
values = { unit = "it's" }
[faults.kill]
do = "ssh {host} sudo systemctl kill --signal=KILL '{unit} now'"
heal = "ssh {host} sudo systemctl start {unit}"
[faults.slow-link]
do = "slow {node} {delay_ms}ms {jitter_ms}ms {loss_percent}% {other_hosts}"
heal = "fast {{{node}}}"
[faults.backup]
do = "save"
[faults.pause]
do = "pause {node} for {lasts_s} s"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "cluster.toml"
    path.write_text(text)
    return path


@pytest.fixture
def good(tmp_path: Path) -> ClusterFile:
    return read(written(tmp_path, GOOD), {})


def test_nodes_and_time_out_are_as_written(good: ClusterFile) -> None:
    assert good.nodes[:2] == (TargetNode("s1", "http://10.0.0.1:4646"), TargetNode("s2", "http://10.0.0.2:4646"))
    assert good.timeout == 10.0


def test_commands_are_split_and_filled_in(good: ClusterFile) -> None:
    kill = Fault(FaultKind.KILL, ("s1",))
    assert good.do(kill, "s1") == [("ssh", "10.0.0.1", "sudo", "systemctl", "kill", "--signal=KILL", "volstore@1 now")]
    assert good.heal(kill, "s1") == [("ssh", "10.0.0.1", "sudo", "systemctl", "start", "volstore@1")]


def test_what_fills_a_placeholder_is_one_word_whatever_is_in_it(good: ClusterFile) -> None:
    assert good.heal(Fault(FaultKind.KILL, ("s3",)), "s3") == [("ssh", "fd00::3", "sudo", "systemctl", "start", "it's")]


def test_a_nodes_own_commands_win(good: ClusterFile) -> None:
    kill = Fault(FaultKind.KILL, ("s2",))
    assert good.do(kill, "s2") == [("reset-power", "s2")]
    assert good.heal(kill, "s2") == [("power-on", "s2"), ("wait-for", "10.0.0.2")]


def test_a_faults_own_figures_are_filled_in(good: ClusterFile) -> None:
    slow = Fault(FaultKind.SLOW_LINK, ("s2",), delay=0.2, jitter=0.05, loss=0.015)
    assert good.do(slow, "s2") == [("slow", "s2", "200ms", "50ms", "1.5%", "10.0.0.1 fd00::3")]
    assert good.heal(slow, "s2") == [("fast", "{s2}")]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault(FaultKind.KILL, ("s1", "s2")), None),
        (Fault(FaultKind.BACKUP, ("s1",)), None),
        (Fault(FaultKind.PAUSE, ("s1",)), "[faults.pause] has no heal: add the commands that repair s1"),
        (Fault(FaultKind.DISK_FULL, ("s1",)), "the file has no [faults.disk-full] with its commands"),
        (Fault(FaultKind.KILL, ("s9",)), "the file has no node s9; it has s1, s2, s3"),
    ],
    ids=str,
)
def test_what_can_not_be_done_and_undone_is_known_beforehand(good: ClusterFile, fault: Fault, why: str | None) -> None:
    assert good.has(fault) == why


NODE = '[[nodes]]\nname = "s1"\nurl = "http://10.0.0.1:4646"\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nodes = 3", "Expected `array`, got `int` - at `$.nodes`"),
        ("", "missing required field `nodes`"),
        ("nodes = []", "give a [[nodes]] with name and url"),
        ("[[nodes]", "is not valid TOML"),
        (NODE + NODE, "two have the same name"),
        (NODE + NODE.replace("s1", "s2"), "two have the same url"),
        (NODE.replace("http:", "ftp:"), "is not the URL of a node; write one like"),
        (NODE.replace(":4646", ":99999"), "is not the URL of a node"),
        (NODE.replace(":4646", ":4646/v1"), "is not the URL of a node"),
        ("tokenfile = 'x'\n" + NODE, "unknown field `tokenfile`"),
        ("command_timeout = '10'\n" + NODE, "command_timeout: '10' is not a duration"),
        ("command_timeout = '0s'\n" + NODE, "command_timeout: it must be above 0"),
        ("token_file = 'nowhere'\n" + NODE, "can't use the token or certificate files"),
        ("ca_file = 'nowhere'\n" + NODE, "can't use the token or certificate files"),
        ("cert_file = 'c.pem'\n" + NODE, "give both cert_file and key_file"),
        (NODE + "[faults.kil]\ndo = 'x'", "faults.kil: no such fault; did you mean kill?"),
        (NODE + "[faults.kill]\nheal = 'x'", "missing required field `do` - at `$.faults[...]`"),
        (NODE + "[faults.kill]\ndo = 'x {nod}'", "faults.kill.do: no placeholder {nod}; did you mean node?"),
        (NODE + "[faults.kill]\ndo = 'x {}'", "faults.kill.do: no placeholder {}; there are delay_ms, "),
        (NODE + "[faults.kill]\ndo = 'x {'", "write {{ for a literal brace"),
        (NODE + '[faults.kill]\ndo = "it\'s"', "can't be read: No closing quotation"),
        (NODE + "[faults.kill]\ndo = ''", "faults.kill.do: an empty command"),
        (NODE + "[faults.kill]\ndo = 'x'\nheal = ['y', '']", "faults.kill.heal: an empty command"),
        (NODE + "[nodes.faults.pause]\ndo = 'x {y}'", "nodes.s1.faults.pause.do: no placeholder {y}"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str, why: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(TargetError) as raised:
        read(path, {})
    assert why in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_there_or_no_text_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"can't read .*: No such file"):
        read(tmp_path / "nowhere.toml", {})
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(TargetError, match="is not UTF-8 text"):
        read(tmp_path / "bytes.toml", {})


def test_the_token_comes_from_its_file_else_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "drill.token").write_text("abc\n")
    environment = {"VOLSTORE_TOKEN": "xyz", "NOMAD_TOKEN": "nomad"}
    assert read(written(tmp_path, NODE), environment).access.token == "xyz"
    assert read(written(tmp_path, NODE), {"NOMAD_TOKEN": "nomad"}).access.token == "nomad"
    from_file = read(written(tmp_path, "token_file = 'drill.token'\n" + NODE), environment)
    assert from_file.access.token == "abc"
    assert "abc" not in repr(from_file)
