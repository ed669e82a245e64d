"""A law: whoever waits for an answer gets it when it changes, whatever changed it, and hardly anybody else does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http.registry import InProcessRegistry
from volstore.core.commands import (
    ClaimVolume,
    Command,
    DeleteAllocation,
    DeleteNode,
    DeregisterVolume,
    DetachVolume,
    PutAllocations,
    PutNode,
    RegisterVolumes,
    SetNodeStatus,
)
from volstore.core.model import Allocation, Fingerprint, Node, Volume
from volstore.http.endpoints import allocations, nodes, plugins, volumes
from volstore.http.endpoints.lists import VolumeLists
from volstore.http.endpoints.rendered import VolumeRenderer
from volstore.http.json.parameters import Query
from volstore.http.json.replies import Reply
from volstore.http.server.call import Call, Service
from volstore.http.server.declaration import Endpoint
from volstore.http.server.limits import WaitersOfCallers
from volstore.http.server.pipeline import Pipeline
from volstore.http.server.settings import HttpSettings

FILTERS = ("", "namespace=*", "prefix=a", "plugin_id=p", "plugin_id=q1", "node_id=n", "prefix=b&plugin_id=q")
A_PAGE = "type=csi&per_page=1"
"""Woken by its whole list: what of it is on the page can't be told without making the page."""

QUESTIONS: list[tuple[Endpoint, str, tuple[str, ...]]] = [
    *((volumes.LIST, f"type=csi&{filters}", ()) for filters in FILTERS),
    (volumes.LIST, A_PAGE, ()),
    *((volumes.READ, "", (id,)) for id in ("a1", "a2", "b1", "none")),
    (plugins.LIST, "type=csi", ()),
    *((plugins.READ, "", (id,)) for id in ("p1", "q1")),
    *((nodes.LIST, f"prefix={prefix}", ()) for prefix in ("", "n1", "m")),
    *((nodes.READ, "", (id,)) for id in ("n1", "n2")),
    *((allocations.LIST, filters, ()) for filters in ("", "prefix=w1", "namespace=other", "namespace=*&prefix=w")),
    *((allocations.READ, "", (id,)) for id in ("w1", "none")),
]


@dataclass(frozen=True)
class Restore:
    """A snapshot is installed: the same state, in another object."""


IDS = st.sampled_from(["a1", "a2", "b1"])
PLUGINS = st.sampled_from(["p1", "q1"])
NODE_STATUSES = st.sampled_from(["ready", "down"])
NODES = st.sampled_from(["n1", "n2"])
CLAIMANTS = st.sampled_from(["w1", "w2"])
FINGERPRINTS = st.dictionaries(
    PLUGINS, st.builds(Fingerprint, healthy=st.booleans(), provider_version=st.sampled_from(["1", "2"])), max_size=2
)
VOLUMES = st.builds(
    Volume,
    id=IDS,
    plugin_id=PLUGINS,
    name=st.sampled_from(["x", "y"]),
    access_mode=st.just("single-node-writer"),
    attachment_mode=st.just("file-system"),
)
STEPS: st.SearchStrategy[Command | Restore] = st.one_of(
    st.lists(VOLUMES, min_size=1, max_size=2).map(lambda found: RegisterVolumes("default", tuple(found))),
    st.builds(DeregisterVolume, st.just("default"), IDS),
    st.builds(
        Node,
        id=NODES,
        controller_plugins=FINGERPRINTS,
        node_plugins=FINGERPRINTS,
        status=st.sampled_from(["ready", "down"]),
    ).map(PutNode),
    st.builds(SetNodeStatus, NODES, st.sampled_from(["ready", "down"])),
    st.builds(DeleteNode, NODES),
    st.builds(
        Allocation,
        id=CLAIMANTS,
        node_id=st.just("n1"),
        job_id=st.just("web"),
        client_status=st.sampled_from(["running", "lost", "complete"]),
        desired_status=st.just("run"),
        namespace=st.sampled_from(["default", "default", "other"]),
    ).map(lambda row: PutAllocations((row,))),
    st.builds(DeleteAllocation, CLAIMANTS),
    st.builds(ClaimVolume, st.just("default"), IDS, CLAIMANTS, st.integers(0, 2), st.just(0)),
    st.builds(ClaimVolume, st.just("default"), IDS, CLAIMANTS, st.just(2), st.just(3)),
    st.builds(DetachVolume, st.just("default"), IDS, NODES),
    st.just(Restore()),
)
UNLISTED = (PutNode, SetNodeStatus, DeleteNode, PutAllocations, DeleteAllocation)
BEGINNING: list[Command] = [
    PutNode(Node(id="n1", node_plugins={"p1": Fingerprint(healthy=True), "q1": Fingerprint()})),
    RegisterVolumes(
        "default",
        tuple(
            Volume(id=id, plugin_id=plugin, access_mode="single-node-writer", attachment_mode="file-system")
            for id, plugin in (("a1", "p1"), ("b1", "q1"))
        ),
    ),
    PutAllocations(
        (
            Allocation(id="w1", node_id="n1", job_id="web", client_status="running", desired_status="run"),
            Allocation(id="w2", node_id="n1", job_id="web", client_status="running", desired_status="run"),
        )
    ),
    ClaimVolume("default", "a1", "w1", 1),
]


@given(st.lists(STEPS, min_size=1, max_size=12))
@settings(max_examples=150, deadline=None)
def test_whoever_waits_is_answered_at_every_change_of_the_answer_and_at_hardly_another(
    steps: list[Command | Restore],
) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[Command | Restore]) -> None:
    registry = InProcessRegistry()
    renderer = VolumeRenderer()
    service = Service(registry, HttpSettings(), renderer, VolumeLists())
    pipeline = Pipeline(lambda: 0.0, WaitersOfCallers(0))

    async def ask(question: tuple[Endpoint, str, tuple[str, ...]], index: int) -> Reply:
        endpoint, query, ids = question
        return await pipeline.run(endpoint, Call(service, Query(f"{query}&index={index}&wait=10m"), ids), None)

    for command in BEGINNING:
        registry.apply(command)
    for step in steps:
        before = [_body(await ask(question, 0)) for question in QUESTIONS]
        waiting = [asyncio.create_task(ask(question, registry.state.index)) for question in QUESTIONS]
        await _settle()
        assert len(registry.watch) == len(waiting)
        if isinstance(step, Restore):
            registry.restore()
        else:
            registry.apply(step)
        await _settle()
        after = [_body(await ask(question, 0)) for question in QUESTIONS]
        for question, task, old, new in zip(QUESTIONS, waiting, before, after, strict=True):
            # A plugin's version and an allocation show in a volume's own answer but in no list; both wait for the
            # volume's one touch.
            more = question[1] == A_PAGE or (question[0] is volumes.LIST and isinstance(step, UNLISTED))
            assert task.done() == (old != new) or (task.done() and more), (question[0].name, *question[1:], step)
            if task.done():
                assert _body(task.result()) == new
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert len(registry.watch) == 0


def _body(reply: Reply) -> tuple[int, bytes]:
    return reply.status, reply.json.raw if reply.json is not None else reply.text.encode()


async def _settle() -> None:
    """Let everything that can go on go on: a wake-up takes a few turns of the loop, and no time."""
    for _ in range(12):
        await asyncio.sleep(0)
