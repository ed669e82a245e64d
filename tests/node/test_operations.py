"""Attach and detach: a controller's calls by a real agent to a real driver, within their lease."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.csi.driver import SECRET, Fault
from tests.csi.world import World, needs_root, until
from volstore.node.work import Operation

pytestmark = needs_root

CAPABILITY = {"mount": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}
ATTACH = {"volume_id": "db1", "node_id": "n1", "volume_capability": CAPABILITY}


def operation(kind: str = "attach", attempt: int = 1, seconds: float = 60, **members: Any) -> Operation:
    args = ATTACH if kind == "attach" else {"volume_id": "db1", "node_id": "n1"}
    given = {"id": f"op-{kind}", "plugin_id": "dirs", "args": args, **members}
    return Operation(attempt=attempt, kind=kind, lease_ns=int(seconds * 1e9), **given)


def outcomes(world: World) -> list[dict[str, Any]]:
    try:
        return [msgspec.json.decode(line) for line in world.agent_settings.outcomes.read_bytes().splitlines()]
    except FileNotFoundError:
        return []


def outcome(world: World, number: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = until(lambda: len(outcomes(world)) >= number and outcomes(world)[number - 1], "an outcome")
    return found


def attaching(world: World, *faults: Fault) -> None:
    world.volume()
    world.driver_settings.attaches = True
    world.start_driver(*faults)
    world.want()
    world.start_agent()
    until(lambda: world.calls("Probe"), "the plugin is known")
    until(world.report, "a report")


def test_attach_answers_the_publish_context_and_detach_undoes_it(world: World) -> None:
    attaching(world)
    world.want(operations=[operation()])
    assert outcome(world) == {
        "ID": "op-attach",
        "Outcome": {
            "Attempt": 1,
            "Code": "OK",
            "Message": "",
            "Result": {"publish_context": {"device": "/dev/disk/db1"}},
        },
    }
    world.want(operations=[operation("detach")])
    assert outcome(world, 2)["Outcome"]["Code"] == "OK"
    assert b"n1" not in world.driver_settings.state.read_bytes()


def test_an_attempt_is_made_once_however_often_it_is_listed(world: World) -> None:
    attaching(world)
    world.want(operations=[operation()])
    outcome(world)
    world.want(operations=[operation()])
    world.want(operations=[operation(), operation("detach")])
    outcome(world, 2)
    assert len(world.calls("ControllerPublishVolume")) == 1


def test_a_refusal_is_reported_in_the_drivers_words_without_secrets(world: World) -> None:
    attaching(world, Fault(call="ControllerPublishVolume", kind="echoes_secrets", code="INTERNAL"))
    world.want(operations=[operation(secrets={"password": SECRET})])
    found = outcome(world)["Outcome"]
    assert found["Code"] == "INTERNAL"
    assert "[secret]" in found["Message"]
    assert SECRET not in found["Message"]
    assert world.calls("ControllerPublishVolume")[0]["request"]["secrets"] == {"password": SECRET}


def test_a_call_that_hangs_ends_with_its_lease(world: World) -> None:
    attaching(world, Fault(call="ControllerPublishVolume", kind="hang"))
    world.want(operations=[operation(seconds=1)])
    assert outcome(world)["Outcome"]["Code"] == "DEADLINE_EXCEEDED"


def test_a_lease_that_is_over_is_not_used(world: World) -> None:
    attaching(world)
    world.want(operations=[operation(seconds=0), operation("detach")])
    assert outcome(world)["ID"] == "op-detach"
    assert world.calls("ControllerPublishVolume") == []


def test_a_controller_gets_one_call_at_a_time(world: World) -> None:
    attaching(world, Fault(call="ControllerPublishVolume", kind="delay", seconds=0.3, times=2))
    others = [operation(id=f"op-{n}", args={**ATTACH, "volume_id": f"v{n}"}) for n in range(3)]
    world.want(operations=others)
    until(lambda: len(outcomes(world)) == 3, "three outcomes")
    assert {one["Outcome"]["Code"] for one in outcomes(world)} == {"OK"}


def test_a_driver_that_dies_in_attach_leaves_an_outcome_that_says_unknown(world: World) -> None:
    attaching(world, Fault(call="ControllerPublishVolume", kind="dies_after"))
    world.want(operations=[operation()])
    assert outcome(world)["Outcome"]["Code"] == "UNAVAILABLE"
    world.driver_ends()
    world.start_driver()
    world.want(operations=[operation(attempt=2)])
    assert outcome(world, 2)["Outcome"]["Code"] == "OK"


def test_what_the_plugin_does_not_advertise_is_not_called(world: World) -> None:
    world.volume()
    world.start_driver()
    world.want()
    world.start_agent()
    until(lambda: world.calls("Probe"), "the plugin is known")
    until(world.report, "a report")
    world.want(operations=[operation(), operation("detach", plugin_id="nosuch"), operation("repair", args={})])
    until(lambda: len(outcomes(world)) == 3, "three outcomes")
    by_id = {one["ID"]: one["Outcome"]["Code"] for one in outcomes(world)}
    assert by_id == {"op-attach": "UNIMPLEMENTED", "op-detach": "NOT_SENT", "op-repair": "UNIMPLEMENTED"}
    assert [call for call in world.calls() if call["call"].startswith("ControllerP")] == []
