"""Deregistering: exact ID, in use, force, and what leaves with the volume."""

from __future__ import annotations

import pytest

from tests.core.machine import Machine, claim, machine_with_plugin, volume
from volstore.core.commands import DeregisterVolume
from volstore.core.model import Allocation


def registered() -> Machine:
    machine = machine_with_plugin()
    machine.register(volume())
    return machine


def test_a_volume_is_removed_by_its_exact_id() -> None:
    machine = registered()
    machine.register(volume("v2"))
    machine.done(DeregisterVolume("default", "v"))
    assert machine.state.volume("default", "v") is None
    assert machine.state.volume("default", "v2") is not None


@pytest.mark.parametrize(
    ("namespace", "id", "status", "text"),
    [
        ("default", "", 400, "missing volume ID"),
        ("default", "zzz", 404, "volume not found: zzz"),
        ("default", "x" * 9999, 404, f"volume not found: {'x' * 256}…"),
        ("nope", "v", 404, "volume not found: v"),
    ],
)
def test_a_prefix_another_namespace_or_no_id_removes_nothing(namespace: str, id: str, status: int, text: str) -> None:
    machine = registered()
    outcome = machine.do(DeregisterVolume(namespace, id))
    assert (outcome.status, outcome.text) == (status, text)
    assert machine.state.volume_count() == 1


def test_a_volume_in_use_stays_and_the_refusal_names_who_holds_it() -> None:
    machine = registered()
    machine.claim("v", claim("alloc1"))
    outcome = machine.do(DeregisterVolume("default", "v"))
    assert (outcome.status, outcome.text) == (
        409,
        "volume in use: v: claimed by allocation alloc1 (job web, node n1, since 1970-01-01T00:00:00Z; free it with: "
        "volstore volume detach v n1)",
    )
    assert machine.state.volume("default", "v") is not None


@pytest.mark.parametrize("status", ["complete", "failed", "lost", None])
def test_force_removes_a_volume_whose_claimants_are_terminal_or_vanished(status: str | None) -> None:
    machine = registered()
    machine.claim("v", claim("alloc1", mode=1))
    if status is not None:
        machine.state.put_allocation(Allocation(id="alloc1", client_status=status))
    machine.done(DeregisterVolume("default", "v", force=True))
    assert machine.state.volume("default", "v") is None


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_force_changes_nothing_while_one_claimant_is_alive(mode: int) -> None:
    machine = registered()
    machine.claim("v", claim("gone"), claim("alive", mode=mode))
    machine.state.put_allocation(Allocation(id="alive", client_status="running"))
    before = machine.volume("v")
    outcome = machine.do(DeregisterVolume("default", "v", force=True))
    assert outcome.status == 409
    assert outcome.text.startswith("volume in use: v: ")
    assert machine.volume("v") is before


def test_a_plugin_that_has_gone_is_forgotten_with_its_last_volume() -> None:
    machine = registered()
    machine.register(volume("w"))
    machine.report("n1", node_plugins={})
    machine.done(DeregisterVolume("default", "v"))
    assert machine.state.plugin_row("p") is not None
    machine.done(DeregisterVolume("default", "w"))
    assert machine.state.plugin_row("p") is None
