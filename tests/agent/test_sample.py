"""What --dev starts with, in the real state machine."""

from __future__ import annotations

import json
import shlex
import uuid

from volstore.agent.sample import NODE_PREFIX, PLUGIN_ID, sample_nodes, try_next
from volstore.core.commands import Stamped, decode_outcome, encode
from volstore.core.fsm import Fsm


def test_the_sample_nodes_make_the_plugin_of_the_api_document() -> None:
    fsm = Fsm()
    for command in sample_nodes():
        assert decode_outcome(fsm.apply(encode(Stamped(1, command)))).status == 200

    plugin = fsm.state.plugin(PLUGIN_ID)

    assert plugin is not None
    assert (plugin.provider, plugin.version, plugin.controller_required) == ("ebs", "1.0.1", True)
    assert (plugin.controllers_healthy, plugin.controllers_expected) == (3, 3)
    assert (plugin.nodes_healthy, plugin.nodes_expected) == (15, 18)
    assert plugin.schedulable


def test_sample_nodes_are_told_from_real_ones_and_from_each_other() -> None:
    nodes = [command.node for command in sample_nodes()]
    assert all(node.name.startswith(NODE_PREFIX) for node in nodes)
    assert len({node.name for node in nodes}) == 18
    assert len({node.id[:8] for node in nodes}) == 18
    assert all(str(uuid.UUID(node.id)) == node.id for node in nodes)


def test_sample_nodes_are_always_the_same() -> None:
    assert sample_nodes() == sample_nodes()


def test_what_to_try_next_are_three_lines_for_a_shell() -> None:
    register, list_all, show = map(shlex.split, try_next("127.0.0.1:4646", "my env/bin/volstore"))

    assert register[:4] == ["curl", "-X", "PUT", "http://127.0.0.1:4646/v1/volume/csi/volume-id1"]
    assert json.loads(register[-1])["Volumes"][0]["PluginID"] == PLUGIN_ID
    assert list_all == ["curl", "http://127.0.0.1:4646/v1/volumes?type=csi&pretty"]
    assert show == ["my env/bin/volstore", "volume", "status", "-address=http://127.0.0.1:4646", "volume-id1"]
