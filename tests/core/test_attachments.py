"""Attachments, operations and fences as commands move them, and the laws that no order of commands breaks."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from tests.core.machine import Machine, allocation, controller, fingerprint, node, volume
from volstore.core.attach.calls import CALL_SECONDS, CONFIRM_AFTER, LEASE, SECOND
from volstore.core.attach.commands import (
    CancelOperation,
    DrainNode,
    FenceNode,
    PutManagedNode,
    ReportAttachments,
    ReportOutcome,
    TargetState,
    VolumeState,
)
from volstore.core.attach.rows import (
    ASSIGNED,
    ATTACH,
    ATTACHED,
    ATTACHING,
    DETACH,
    DETACHING,
    LEAVING,
    Attachment,
    ControllerCall,
)
from volstore.core.commands import (
    AdvanceTime,
    Command,
    DeleteNode,
    DeregisterVolume,
    DetachVolume,
    PutAllocations,
    ReleaseClaim,
    SetNodeStatus,
    SweepClaims,
    TakeClaim,
)
from volstore.core.model import READ, UNPUBLISHING, WRITE, NodeInfo, Topology

NODES = ("n1", "n2", "n3")


def managed(id: str, *, attaches: bool = True, **info: object) -> PutManagedNode:
    seen = fingerprint(node_info=NodeInfo(id=f"storage-{id}", **info))  # type: ignore[arg-type]  # fields by name
    controllers = {"p": controller()} if attaches else {}
    return PutManagedNode(node(id, node_plugins={"p": seen}, controller_plugins=controllers))


def fleet(mode: str = "single-node-writer", *, attaches: bool = True) -> Machine:
    """Volume v; nodes n1 and n2 with agents, and allocations a1 and a2 on them, b1 of job db on n1."""
    machine = Machine().measured()
    for id in ("n1", "n2"):
        machine.done(managed(id, attaches=attaches))
    machine.register(volume("v", access_mode=mode, secrets={"k": "s"}))
    machine.done(
        PutAllocations(
            (allocation("a1"), allocation("a2", node_id="n2"), allocation("b1", job_id="db"), allocation("c1"))
        )
    )
    return machine


def take(machine: Machine, id: str, mode: int = WRITE, path: str = "") -> tuple[int, str]:
    outcome = machine.do(TakeClaim("default", "v", id, mode, "", path))
    return outcome.status, outcome.text


def release(machine: Machine, id: str) -> None:
    machine.done(ReleaseClaim("default", "v", id, 3))


def row(machine: Machine, node_id: str = "n1") -> Attachment | None:
    return machine.state.attachments.get(("p", "ext-v", node_id))


def the(machine: Machine, node_id: str = "n1") -> Attachment:
    found = row(machine, node_id)
    assert found is not None
    return found


def call(machine: Machine) -> ControllerCall:
    (found,) = machine.state.attachments.calls
    return found


def end(machine: Machine, code: str = "OK", **context: str) -> tuple[int, str]:
    one = call(machine)
    outcome = machine.do(ReportOutcome(one.id, one.attempt, code, "words", context))
    return outcome.status, outcome.text


def report(
    machine: Machine,
    node_id: str = "n1",
    *targets: str,
    staged: bool = False,
    boot: str = "boot",
    index: int | None = None,
) -> tuple[int, str]:
    told = tuple(TargetState(target, "published") for target in targets)
    volumes = (VolumeState("p", "ext-v", staged, told),) if targets or staged else ()
    work_index = machine.state.index if index is None else index
    outcome = machine.do(ReportAttachments(node_id, boot, work_index, volumes))
    return outcome.status, outcome.text


def test_a_claim_is_attached_first_and_ends_with_a_detach_that_the_node_allowed() -> None:
    machine = fleet()
    assert take(machine, "a1", path="/srv/v") == (200, "")
    assert (the(machine).state, call(machine).kind, call(machine).executor) == (ATTACHING, ATTACH, "n1")
    assert end(machine, device="/dev/x") == (200, "")
    assert (the(machine).state, the(machine).publish_context) == (ATTACHED, {"device": "/dev/x"})
    report(machine, "n1", "a1", staged=True)
    release(machine, "a1")
    assert the(machine).state == LEAVING
    assert machine.volume("v").past_claims["a1"].state == UNPUBLISHING
    assert not machine.volume("v").write_claims
    report(machine, "n1", "a1", staged=True)
    assert not list(machine.state.attachments.calls)
    report(machine, "n1", staged=True)
    assert the(machine).state == LEAVING  # still staged
    assert not machine.volume("v").in_use
    report(machine)
    assert (the(machine).state, call(machine).kind) == (DETACHING, DETACH)
    assert end(machine, "NOT_FOUND") == (200, "")
    assert row(machine) is None


def test_nothing_needs_attaching_where_no_controller_attaches() -> None:
    machine = fleet(attaches=False)
    take(machine, "a1")
    assert (the(machine).state, len(machine.state.attachments.calls)) == (ATTACHED, 0)
    release(machine, "a1")
    report(machine)
    assert row(machine) is None


@pytest.mark.parametrize("ending", ["complete", "failed", "release", "detach", "deregister", "delete", "sweep"])
def test_a_managed_claim_ends_by_its_nodes_word_alone(ending: str) -> None:
    machine = fleet(attaches=False)
    take(machine, "a1")
    report(machine, "n1", "a1", staged=True)
    commands: dict[str, Command] = {
        "complete": PutAllocations((allocation("a1", client_status="complete"),)),
        "failed": PutAllocations((allocation("a1", client_status="failed"),)),
        "release": ReleaseClaim("default", "v", "a1", 3),
        "deregister": DeregisterVolume("default", "v", True),
        "delete": DeleteNode("n1"),
        "sweep": SweepClaims(()),
    }
    if ending == "detach":
        machine.done(SetNodeStatus("n1", "down"))
        machine.done(DetachVolume("default", "v", "n1"))
    else:
        machine.do(commands[ending])
    status, text = take(machine, "a2")
    assert status == 409
    assert "n1" in text
    assert machine.state.node("n1") is not None


def test_a_report_from_before_the_release_frees_nothing() -> None:
    machine = fleet(attaches=False)
    take(machine, "a1")
    before = machine.state.index
    release(machine, "a1")
    report(machine, index=before)
    assert machine.volume("v").in_use
    report(machine, index=machine.state.index + 5)  # of another registry's
    assert machine.volume("v").in_use
    report(machine)
    assert not machine.volume("v").in_use


def test_an_older_report_that_comes_late_is_refused() -> None:
    machine = fleet(attaches=False)
    take(machine, "a1")
    early = machine.state.index
    release(machine, "a1")
    report(machine, "n1", staged=True)
    assert the(machine).state == LEAVING
    assert report(machine, index=early)[0] == 409
    assert the(machine).state == LEAVING


def test_a_claim_taken_back_keeps_the_volume_here() -> None:
    machine = fleet(attaches=False)
    take(machine, "a1")
    report(machine, "n1", "a1", staged=True)
    release(machine, "a1")
    assert take(machine, "a1")[0] == 409  # the same allocation waits for its own end
    assert take(machine, "c1") == (200, "")
    assert the(machine).state == ATTACHED
    report(machine)
    assert [one.allocation_id for one in the(machine).claims] == ["c1"]


def test_a_claim_released_before_it_was_attached_is_detached_with_care() -> None:
    machine = fleet()
    take(machine, "a1")
    release(machine, "a1")
    report(machine)
    assert (the(machine).state, call(machine).kind) == (DETACHING, ATTACH)  # its attempt must end first
    end(machine, "DEADLINE_EXCEEDED")
    assert call(machine).kind == DETACH
    end(machine)
    assert call(machine).confirmed  # it may still be attached, late: once more
    machine.pass_(CONFIRM_AFTER / SECOND + 1)
    assert call(machine).state == ASSIGNED
    end(machine)
    assert row(machine) is None


def test_what_was_never_sent_needs_no_detach() -> None:
    machine = fleet()
    machine.done(SetNodeStatus("n2", "down"))
    machine.done(SetNodeStatus("n1", "initializing"))
    take(machine, "a1")
    assert call(machine).attempt == 0
    release(machine, "a1")
    report(machine)
    assert row(machine) is None


def test_an_attempt_is_its_nodes_until_the_lease_is_over() -> None:
    machine = fleet()
    take(machine, "a1")
    machine.done(SetNodeStatus("n1", "down"))
    machine.pass_(CALL_SECONDS)
    assert (call(machine).attempt, call(machine).executor) == (1, "n1")
    machine.pass_(LEASE / SECOND)
    machine.pass_(2)
    assert (call(machine).attempt, call(machine).executor) == (2, "n2")
    assert machine.do(ReportOutcome(call(machine).id, 1, "INTERNAL")).status == 409
    assert machine.do(ReportOutcome(call(machine).id, 1, "OK")).status == 409  # the second is under way
    assert end(machine) == (200, "")
    assert the(machine).state == ATTACHED


def test_a_failure_is_tried_again_after_a_pause() -> None:
    machine = fleet()
    take(machine, "a1")
    end(machine, "FAILED_PRECONDITION")
    assert "FAILED_PRECONDITION: words" in the(machine).error
    machine.pass_(9)
    assert call(machine).attempt == 1
    machine.pass_(2)
    assert call(machine).attempt == 2
    status, text = take(machine, "a2")
    assert status == 409
    assert "FAILED_PRECONDITION" in text


def test_a_fence_detaches_without_the_node_and_revokes_what_it_had() -> None:
    machine = fleet()
    take(machine, "a1")
    end(machine)
    report(machine, "n1", "a1", staged=True)
    assert machine.do(FenceNode("n1", True, "why")).status == 409  # it is heard
    machine.done(SetNodeStatus("n1", "down"))
    machine.done(FenceNode("n1", True, "its power is cut"))
    assert not machine.volume("v").in_use
    assert (the(machine).state, call(machine).kind, call(machine).executor) == (DETACHING, DETACH, "n2")
    assert take(machine, "a2")[0] == 409
    end(machine)
    assert take(machine, "a2") == (200, "")
    machine.done(SetNodeStatus("n1", "ready"))
    assert "its power is cut" in take(machine, "b1")[1]
    assert machine.do(FenceNode("n1", False)).status == 409
    report(machine, "n1", "a1", staged=True)
    assert machine.do(FenceNode("n1", False)).status == 409
    report(machine)
    machine.done(FenceNode("n1", False))


def test_a_drained_node_gives_up_and_takes_nothing() -> None:
    machine = fleet(attaches=False)
    take(machine, "a1")
    machine.done(DrainNode("n1", True))
    assert the(machine).state == LEAVING
    report(machine)
    assert row(machine) is None
    assert "drained" in take(machine, "b1")[1]
    machine.done(DrainNode("n1", False))
    assert take(machine, "b1") == (200, "")


def test_one_writer_is_on_one_node() -> None:
    machine = fleet("multi-node-single-writer", attaches=False)
    take(machine, "a1")
    release(machine, "a1")
    assert take(machine, "a2")[0] == 409  # the first may still be writing
    assert take(machine, "a2", READ) == (200, "")
    report(machine)
    assert machine.volume("v").read_claims


def test_two_registered_volumes_may_be_one_disk() -> None:
    machine = fleet(attaches=False)
    machine.register(volume("w", external_id="ext-v", access_mode="single-node-writer"))
    take(machine, "a1")
    outcome = machine.do(TakeClaim("default", "w", "a2", WRITE))
    assert outcome.status == 409
    assert "one node at a time" in outcome.text


def test_a_node_takes_only_what_it_can_reach_and_has_room_for() -> None:
    machine = fleet(attaches=False)
    machine.done(managed("n1", attaches=False, max_volumes=1, accessible_topology=Topology({"Zone": "a"})))
    machine.register(volume("w", topologies=(Topology({"zone": "b"}),)))
    assert "topology" in machine.do(TakeClaim("default", "w", "a1", WRITE)).text
    take(machine, "a1")
    machine.register(volume("x"))
    assert "takes there" in machine.do(TakeClaim("default", "x", "a1", WRITE)).text


@pytest.mark.parametrize("path", ["srv", "/srv/", "/a//b", "/a/../b", "/a\n", "/" + 1025 * "x"])
def test_a_path_is_a_plain_one(path: str) -> None:
    assert take(fleet(attaches=False), "a1", path=path)[0] == 400


def test_a_reboot_attaches_again() -> None:
    machine = fleet()
    take(machine, "a1")
    end(machine)
    report(machine, "n1", "a1", staged=True)
    report(machine, boot="another")
    assert (the(machine).state, call(machine).kind) == (ATTACHING, ATTACH)


def test_an_operator_may_vouch_for_a_detach() -> None:
    machine = fleet()
    take(machine, "a1")
    assert machine.do(CancelOperation(call(machine).id)).status == 409
    end(machine)
    release(machine, "a1")
    report(machine)
    assert machine.do(CancelOperation(call(machine).id)).status == 409  # it is being made
    end(machine, "INTERNAL")
    machine.done(CancelOperation(call(machine).id))
    assert row(machine) is None


def test_one_call_of_a_plugin_is_made_at_a_time() -> None:
    machine = fleet()
    for number in range(3):
        machine.register(volume(f"v{number}"))
        machine.done(TakeClaim("default", f"v{number}", "a1", WRITE))
    states = [one.state for one in machine.state.attachments.calls]
    assert states.count(ASSIGNED) == 1
    first = next(iter(machine.state.attachments.calls))
    machine.done(ReportOutcome(first.id, 1, "OK"))
    assert [one.state for one in machine.state.attachments.calls].count(ASSIGNED) == 1


def test_the_state_keeps_its_bytes_until_a_node_is_managed() -> None:
    machine = Machine()
    machine.done(AdvanceTime(0, 0, machine.clock))
    names = [table.name for table in machine.state._tables()]
    assert not {"hosts", "attachments", "operations"} & set(names)
    machine.done(managed("n1"))
    assert [table.name for table in machine.state._tables()][-3:] == ["hosts", "attachments", "operations"]


# The laws, whatever the order of commands.


class Hosts:
    """What the hosts and the storage are really like: agents that hear late, and calls that are carried out late."""

    def __init__(self, machine: Machine, draw: random.Random) -> None:
        self.machine = machine
        self.draw = draw
        self.mounted: dict[str, set[str]] = {id: set() for id in NODES}
        self.heard: dict[str, tuple[int, tuple[tuple[str, bool], ...], bool]] = dict.fromkeys(NODES, (0, (), False))
        self.reports: list[ReportAttachments] = []

    def hear(self, node_id: str) -> None:
        """The agent polls."""
        attachments = self.machine.state.attachments
        found = attachments.get(("p", "ext-v", node_id))
        host = attachments.host(node_id)
        claims = tuple((c.allocation_id, not c.released) for c in found.claims) if found else ()
        self.heard[node_id] = (
            self.machine.state.index,
            claims if found and found.state in (ATTACHED, LEAVING) else tuple((id, False) for id, _ in claims),
            bool(host and host.revoked),
        )

    def act(self, node_id: str) -> None:
        """The agent does what it has heard of, or a part of that."""
        _, claims, revoked = self.heard[node_id]
        for id, wanted in claims:
            if self.draw.random() < 0.7:
                (self.mounted[node_id].add if wanted and not revoked else self.mounted[node_id].discard)(id)
        if revoked:
            self.mounted[node_id].clear()

    def tell(self, node_id: str) -> None:
        """It reports; sometimes an old report arrives once more."""
        told = tuple(TargetState(id, "published") for id in sorted(self.mounted[node_id]))
        volumes = (VolumeState("p", "ext-v", bool(told), told),) if told else ()
        self.reports.append(ReportAttachments(node_id, "boot", self.heard[node_id][0], volumes))
        self.machine.do(self.reports[-1] if self.draw.random() < 0.6 else self.draw.choice(self.reports))

    def call(self) -> None:
        for one in list(self.machine.state.attachments.calls):
            if one.state == ASSIGNED and self.draw.random() < 0.6:
                code = self.draw.choice(("OK", "OK", "INTERNAL", "NOT_SENT", "DEADLINE_EXCEEDED"))
                self.machine.do(ReportOutcome(one.id, self.draw.randint(1, one.attempt), code))


@pytest.mark.parametrize("seed", range(30))
def test_one_disk_is_mounted_on_one_host_and_detached_only_once_nothing_is_there(seed: int) -> None:
    draw = random.Random(seed)
    machine = Machine().measured()
    for id in NODES:
        machine.done(managed(id))
    machine.register(volume("v", access_mode="single-node-writer"))
    machine.register(volume("w", external_id="ext-v", access_mode="single-node-writer"))
    hosts = Hosts(machine, draw)
    count = 0
    fenced: set[str] = set()
    for _ in range(1000):
        id = draw.choice(NODES)
        kind = draw.random()
        if kind < 0.15:
            count += 1
            machine.done(PutAllocations((allocation(f"a{count}", node_id=id, job_id=draw.choice("xy")),)))
            machine.do(TakeClaim("default", draw.choice("vw"), f"a{count}", draw.choice((READ, WRITE))))
        elif kind < 0.3 and count:
            ended = f"a{draw.randint(1, count)}"
            known = machine.state.allocation(ended)
            assert known is not None
            if draw.random() < 0.5:
                machine.do(ReleaseClaim("default", draw.choice("vw"), ended, draw.choice((1, 3))))
            else:
                machine.done(PutAllocations((replace(known, client_status="complete", stub={}),)))
        elif kind < 0.35:
            machine.do(SetNodeStatus(id, draw.choice(("ready", "down"))))
        elif kind < 0.355 and not hosts.mounted[id]:
            # An honest operator: nothing is mounted there, and its agent does nothing until it has heard.
            if machine.do(FenceNode(id, True, force=True)).status == 200:
                fenced.add(id)
                hosts.heard[id] = (hosts.heard[id][0], (), True)
        elif kind < 0.4:
            machine.do(FenceNode(id, False))
        elif kind < 0.5:
            machine.pass_(draw.choice((1, 20, 200)))
        elif kind < 0.55:
            machine.do(
                draw.choice((DeleteNode("n9"), DrainNode(id, draw.random() < 0.2), DetachVolume("default", "v", id)))
            )
        elif kind < 0.7:
            hosts.call()
        elif kind < 0.8:
            hosts.hear(id)
        elif kind < 0.9:
            hosts.act(id)
        else:
            hosts.tell(id)
        there = [node_id for node_id, mounted in hosts.mounted.items() if mounted]
        assert len(there) <= 1, (seed, there)
        for one in machine.state.attachments.calls:
            found = machine.state.attachments.get(one.attachment_key)
            assert found is not None
            assert found.operation_id == one.id
            if one.kind == DETACH:
                assert not hosts.mounted[one.node_id], seed
        assigned = [one for one in machine.state.attachments.calls if one.state == ASSIGNED]
        assert len(assigned) <= 1
        others = list(machine.state.attachments.rows)
        assert len({found.node_id for found in others}) <= 1
    copy = machine.restored()
    assert copy.state.digest() == machine.state.digest()
    later = AdvanceTime(machine.state.log_time, 30 * SECOND)
    assert copy.do(later) == machine.do(later)
    assert copy.state.digest() == machine.state.digest()
