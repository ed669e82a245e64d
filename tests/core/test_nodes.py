"""Nodes: reports, secrets, statuses, and which plugins they make."""

from __future__ import annotations

import hashlib

import pytest

from tests.core.machine import Machine, controller, fingerprint, machine_with_plugin, node, volume
from volstore.core.commands import DeleteNode, PutNode, SetNodeStatus
from volstore.core.model import ControllerInfo, Fingerprint, Plugin

SECRET = hashlib.sha256(b"secret").digest()


def counts(plugin: Plugin) -> tuple[int, int, int, int]:
    return plugin.controllers_healthy, plugin.controllers_expected, plugin.nodes_healthy, plugin.nodes_expected


def test_a_report_replaces_what_the_node_reported_before() -> None:
    machine = Machine()
    first = machine.report("n1", name="old", datacenter="dc1")
    second = machine.report("n1", name="new", node_plugins={})
    stored = machine.node("n1")
    assert (stored.name, stored.datacenter, stored.node_plugins) == ("new", "", {})
    assert (stored.create_index, stored.modify_index) == (first.index, second.index)


def test_a_repeated_report_moves_the_node_but_not_its_plugins() -> None:
    machine = machine_with_plugin()
    machine.report("n2", controller_plugins={"p": controller()})
    before = machine.plugin("p")
    machine.fsm.take_events()
    outcome = machine.report("n1")
    assert machine.node("n1").modify_index == outcome.index
    assert machine.plugin("p") is before
    assert [type(event).__name__ for event in machine.fsm.take_events()] == ["NodeChanged"]


@pytest.mark.parametrize(
    ("id", "changes", "text"),
    [
        ("", {}, "validation: missing node id"),
        ("a/b", {}, 'validation: node id "a/b" has the character "/"'),
        ("n1", {"status": "sleepy"}, 'validation: unknown node status "sleepy", one of: initializing, ready, down'),
        ("n1", {"node_plugins": {"": Fingerprint()}}, "validation: missing plugin id"),
        ("n1", {"controller_plugins": {"a b": Fingerprint()}}, 'validation: plugin id "a b" has the character " "'),
        (
            "n1",
            {"node_plugins": {"p": Fingerprint(plugin_id="q")}},
            'validation: CSINodePlugins["p"] has the PluginID "q": it must be',
        ),
        (
            "n1",
            {"controller_plugins": {"p": Fingerprint(plugin_id="q")}},
            'validation: CSIControllerPlugins["p"] has the PluginID "q": it must be',
        ),
    ],
)
def test_a_malformed_report_is_a_400_and_changes_nothing(id: str, changes: dict[str, object], text: str) -> None:
    machine = Machine()
    outcome = machine.report(id, **changes)
    assert outcome.status == 400
    assert outcome.text.startswith(text)
    assert machine.state.node_count() == 0
    assert machine.state.plugins() == []


@pytest.mark.parametrize("other", [b"", hashlib.sha256(b"other").digest()])
def test_a_node_known_by_a_secret_is_not_replaced_under_another(other: bytes) -> None:
    machine = Machine()
    machine.report("n1", secret_hash=SECRET)
    before = machine.node("n1")
    outcome = machine.report("n1", secret_hash=other, node_plugins={})
    assert (outcome.status, outcome.text) == (403, "node secret ID does not match. Not registering node.")
    assert machine.node("n1") is before
    assert machine.report("n1", secret_hash=SECRET).status == 200


def test_a_node_that_came_without_a_secret_may_take_one() -> None:
    machine = Machine()
    machine.report("n1")
    assert machine.report("n1", secret_hash=SECRET).status == 200
    assert machine.report("n1").status == 403


def test_the_time_of_a_status_is_when_it_last_became_what_it_is() -> None:
    machine = Machine()
    machine.do(PutNode(node()), time=100 * 10**9)
    machine.do(PutNode(node()), time=200 * 10**9)
    assert machine.node("n1").status_updated_at == 100
    machine.do(SetNodeStatus("n1", "down"), time=300 * 10**9 + 1)
    assert machine.node("n1").status_updated_at == 300
    machine.do(SetNodeStatus("n1", "ready"), time=0)
    assert machine.node("n1").status_updated_at == 300


def test_a_status_moves_the_node_only_when_it_is_another() -> None:
    machine = machine_with_plugin()
    before = machine.node("n1")
    machine.done(SetNodeStatus("n1", "ready"))
    assert machine.node("n1") is before
    outcome = machine.done(SetNodeStatus("n1", "down"))
    assert (machine.node("n1").status, machine.node("n1").modify_index) == ("down", outcome.index)


@pytest.mark.parametrize(
    ("command", "status", "text"),
    [
        (SetNodeStatus("none", "down"), 404, "node not found"),
        (SetNodeStatus("n1", "asleep"), 400, 'validation: unknown node status "asleep", one of: initializing, ready'),
        (
            SetNodeStatus("n1", "down", if_modify_index=7),
            409,
            "node n1 has changed meanwhile: its ModifyIndex is 2, no",
        ),
        (DeleteNode("none"), 404, "node not found"),
    ],
)
def test_a_refused_status_or_removal_says_why(command: SetNodeStatus | DeleteNode, status: int, text: str) -> None:
    machine = machine_with_plugin()
    before = machine.node("n1")
    outcome = machine.do(command)
    assert outcome.status == status
    assert outcome.text.startswith(text)
    assert machine.node("n1") is before


def test_a_report_defeats_a_down_that_was_decided_before_it() -> None:
    machine = machine_with_plugin()
    decided_at = machine.node("n1").modify_index
    machine.report("n1")
    assert machine.do(SetNodeStatus("n1", "down", if_modify_index=decided_at)).status == 409
    assert machine.do(SetNodeStatus("n1", "down", if_modify_index=decided_at + 1)).status == 200


def test_an_instance_counts_from_its_first_fingerprint_healthy_or_not() -> None:
    machine = Machine()
    machine.report("n1", node_plugins={"p": fingerprint(healthy=False)})
    assert counts(machine.plugin("p")) == (0, 0, 0, 1)
    machine.report("n2", controller_plugins={"p": controller()}, node_plugins={})
    assert counts(machine.plugin("p")) == (1, 1, 0, 1)


def test_instances_on_a_node_that_is_down_are_unhealthy_and_recover_with_it() -> None:
    machine = Machine()
    machine.report("n1", node_plugins={"p": fingerprint()}, controller_plugins={"p": controller()})
    machine.done(SetNodeStatus("n1", "down"))
    assert counts(machine.plugin("p")) == (0, 1, 0, 1)
    assert [found.healthy for _, found in machine.state.node_instances("p")] == [False]
    assert [found.healthy for _, found in machine.state.controller_instances("p")] == [False]
    machine.done(SetNodeStatus("n1", "ready"))
    assert counts(machine.plugin("p")) == (1, 1, 1, 1)
    assert [found.healthy for _, found in machine.state.node_instances("p")] == [True]


def test_instances_are_listed_by_node_and_name_their_plugin() -> None:
    machine = Machine()
    for id in ("n2", "n10", "n1"):
        machine.report(id)
    found = machine.state.node_instances("p")
    assert [id for id, _ in found] == ["n1", "n10", "n2"]
    assert {instance.plugin_id for _, instance in found} == {"p"}
    assert machine.state.controller_instances("p") == machine.state.node_instances("none") == []


def test_a_node_that_is_deleted_takes_its_instances_along() -> None:
    machine = machine_with_plugin()
    machine.report("n2")
    machine.done(DeleteNode("n2"))
    assert counts(machine.plugin("p")) == (0, 0, 1, 1)
    assert machine.state.node("n2") is None
    machine.done(DeleteNode("n1"))
    assert machine.state.plugin_row("p") is None


def test_a_plugin_that_goes_is_kept_for_its_volumes_with_provider_and_version_only() -> None:
    machine = Machine()
    machine.report("n1", controller_plugins={"p": controller()})
    machine.register(volume())
    outcome = machine.report("n1", node_plugins={})
    assert machine.state.plugin("p") is None
    assert machine.state.plugins() == []
    row = machine.state.plugin_row("p")
    assert row is not None
    assert (row.provider, row.version, row.controller_required, row.schedulable) == ("ebs", "1.0", False, False)
    assert counts(row) == (0, 0, 0, 0)
    assert row.touch_index == outcome.index


def test_a_plugin_that_comes_back_is_a_new_one() -> None:
    machine = machine_with_plugin()
    machine.register(volume())
    machine.report("n1", node_plugins={})
    outcome = machine.report("n1")
    assert machine.plugin("p").create_index == outcome.index
    assert counts(machine.plugin("p")) == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("requires", "info", "required"),
    [
        (True, ControllerInfo(supports_attach_detach=True), True),
        (True, ControllerInfo(supports_read_only_attach=True), True),
        (True, ControllerInfo(supports_list_volumes=True), False),
        (True, None, False),
        (False, ControllerInfo(supports_attach_detach=True), False),
    ],
)
def test_a_controller_is_required_when_it_says_so_and_attaches(
    requires: bool, info: ControllerInfo | None, required: bool
) -> None:
    machine = machine_with_plugin()
    says = fingerprint(requires_controller_plugin=requires, controller_info=info)
    machine.report("n2", controller_plugins={"p": says})
    assert machine.plugin("p").controller_required is required


def test_the_latest_controller_fingerprint_decides_and_node_fingerprints_do_not() -> None:
    machine = Machine()
    machine.report("n1", controller_plugins={"p": controller()})
    machine.report("n2", node_plugins={"p": fingerprint()})
    assert machine.plugin("p").controller_required
    machine.report("n3", controller_plugins={"p": fingerprint()})
    assert not machine.plugin("p").controller_required


def test_a_required_controller_stays_required_when_all_controllers_have_left() -> None:
    machine = machine_with_plugin()
    machine.report("n2", controller_plugins={"p": controller()}, node_plugins={})
    machine.report("n2", node_plugins={})
    assert machine.plugin("p").controller_required
    assert not machine.plugin("p").schedulable


def test_provider_and_version_follow_the_latest_fingerprint() -> None:
    machine = machine_with_plugin()
    machine.report("n2", node_plugins={"p": fingerprint(provider_version="1.1")})
    assert machine.plugin("p").version == "1.1"
    machine.report("n1")  # a repetition isn't a later word
    assert machine.plugin("p").version == "1.1"
    machine.report("n1", node_plugins={"p": fingerprint(update_time="2024-01-01T00:00:00Z")})
    assert machine.plugin("p").version == "1.0"


def test_a_status_is_no_word_about_provider_and_version() -> None:
    machine = machine_with_plugin()
    machine.report("n2", node_plugins={"p": fingerprint(provider_version="1.1")})
    machine.done(SetNodeStatus("n1", "down"))
    assert machine.plugin("p").version == "1.1"


def test_a_fingerprint_that_does_not_know_its_provider_yet_leaves_what_is_known() -> None:
    machine = machine_with_plugin()
    machine.report("n2", node_plugins={"p": fingerprint(provider="", provider_version="", healthy=False)})
    assert (machine.plugin("p").provider, machine.plugin("p").version) == ("ebs", "1.0")


def test_a_fingerprint_text_moves_the_plugin_but_not_its_volumes() -> None:
    machine = machine_with_plugin()
    before = machine.plugin("p")
    outcome = machine.report("n1", node_plugins={"p": fingerprint(health_description="fine")})
    assert machine.plugin("p").modify_index == outcome.index
    assert machine.plugin("p").touch_index == before.touch_index


def test_health_moves_the_plugin_and_its_volumes() -> None:
    machine = machine_with_plugin()
    outcome = machine.report("n1", node_plugins={"p": fingerprint(healthy=False)})
    assert machine.plugin("p").modify_index == machine.plugin("p").touch_index == outcome.index


def test_one_report_may_move_an_instance_from_one_plugin_to_another() -> None:
    machine = machine_with_plugin()
    machine.report("n2")
    outcome = machine.report("n2", node_plugins={"q": fingerprint()})
    assert counts(machine.plugin("p")) == (0, 0, 1, 1)
    assert counts(machine.plugin("q")) == (0, 0, 1, 1)
    assert machine.plugin("p").modify_index == machine.plugin("q").modify_index == outcome.index
    assert [plugin.id for plugin in machine.state.plugins()] == ["p", "q"]


def test_nodes_are_listed_by_id_and_prefix() -> None:
    machine = Machine()
    for id in ("b1", "a2", "a1"):
        machine.report(id)
    assert [found.id for found in machine.state.nodes()] == ["a1", "a2", "b1"]
    assert [found.id for found in machine.state.nodes("a")] == ["a1", "a2"]
