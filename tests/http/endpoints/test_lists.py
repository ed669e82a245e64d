"""A list is of one moment however long it is, and what is kept of it is given back only while it is true."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http.registry import InProcessRegistry
from tests.http.server.test_wakeups import BEGINNING, STEPS, VOLUMES, Restore
from volstore.core.acl.check import UNRESTRICTED
from volstore.core.acl.commands import PutNamespace
from volstore.core.commands import (
    ClaimVolume,
    Command,
    DeleteNode,
    DeregisterVolume,
    PutNode,
    RegisterVolumes,
    SetNodeStatus,
)
from volstore.core.model import Fingerprint, Node, Volume
from volstore.core.queries import VolumeQuery
from volstore.core.state import State
from volstore.http.endpoints import lists, paging, rendered
from volstore.http.endpoints.lists import Page, VolumeLists
from volstore.http.endpoints.render import volume_item, volume_view
from volstore.http.endpoints.rendered import VolumeRenderer
from volstore.http.endpoints.views import encode

IDS = [f"v{number:02}" for number in range(20)]
PAGES = [
    Page(VolumeQuery("default")),
    Page(VolumeQuery(None)),
    Page(VolumeQuery("default", prefix="v")),
    Page(VolumeQuery("default", plugin_id="p")),
    Page(VolumeQuery("default"), start=("default", "v03"), size=14),
    Page(VolumeQuery("default"), start=("default", "v16"), size=14, reverse=True),
    Page(VolumeQuery("default"), filter='ID matches "^v"'),
]


@pytest.fixture
def registry() -> InProcessRegistry:
    made = InProcessRegistry()
    made.apply(PutNode(Node(id="n1", node_plugins={"p": Fingerprint(healthy=True)})))
    rename(made, "0")
    return made


def rename(registry: InProcessRegistry, name: str, ids: list[str] = IDS) -> None:
    volumes = (
        Volume(id=id, name=name, plugin_id="p", access_mode="single-node-writer", attachment_mode="file-system")
        for id in ids
    )
    assert registry.apply(RegisterVolumes("default", tuple(volumes))).status == 200


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("writes", range(6))
async def test_what_is_taken_in_slices_is_of_one_moment(
    registry: InProcessRegistry, monkeypatch: pytest.MonkeyPatch, page: Page, writes: int
) -> None:
    """Everything is renamed between two slices, up to more often than the slices are begun anew."""
    monkeypatch.setattr(lists, "TAKEN", 6)
    listing = asyncio.create_task(VolumeLists().page(registry.state, page))
    for number in range(writes):
        await asyncio.sleep(0)
        rename(registry, str(number + 1))
    items = json.loads((await listing).json.raw)
    assert len(items) == (14 if page.size else 20)
    assert len({item["Name"] for item in items}) == 1
    assert len({item["ModifyIndex"] for item in items}) == 1


async def test_a_write_elsewhere_does_not_begin_a_long_list_anew(
    registry: InProcessRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "TAKEN", 6)
    taken: list[int] = []
    take = lists._taken

    def counted(*arguments: object) -> list[Volume]:
        found = take(*arguments)  # type: ignore[arg-type]  # passed on as they came
        taken.append(len(found))
        return found

    monkeypatch.setattr(lists, "_taken", counted)
    listing = asyncio.create_task(VolumeLists().page(registry.state, PAGES[0]))
    await asyncio.sleep(0)
    registry.apply(PutNode(Node(id="n2", node_plugins={"other": Fingerprint()})))
    await listing
    assert taken == [6, 6, 6, 2]


async def test_a_kept_list_is_given_back_until_something_in_it_moves(registry: InProcessRegistry) -> None:
    kept = VolumeLists()
    for page in PAGES:
        first = await kept.page(registry.state, page)
        assert (await kept.page(registry.state, page)) is first
    whole = await kept.page(registry.state, PAGES[0])
    registry.apply(PutNode(Node(id="n2", node_plugins={"other": Fingerprint()})))
    assert (await kept.page(registry.state, PAGES[0])) is whole
    for command in (SetNodeStatus("n1", "down"), DeregisterVolume("default", "v00"), DeleteNode("n1")):
        before = {page: (await kept.page(registry.state, page)).json.raw for page in PAGES}
        registry.apply(command)
        for page in PAGES:
            fresh = await VolumeLists().page(registry.state, page)
            assert (await kept.page(registry.state, page)).json.raw == fresh.json.raw
            assert (fresh.json.raw != before[page]) or page.start
    registry.restore()
    assert (await kept.page(registry.state, PAGES[0])) is not whole


async def test_what_is_kept_is_bounded(registry: InProcessRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len((await VolumeLists().page(registry.state, PAGES[0])).json.raw)
    monkeypatch.setattr(lists, "KEPT_BYTES", 4 * size)
    kept = VolumeLists()
    for number in range(30):
        listed = await kept.page(registry.state, Page(VolumeQuery("default"), start=("default", f"u{number}")))
        assert len(json.loads(listed.json.raw)) == 20
        assert kept._kept_bytes <= 4 * size
        rename(registry, str(number))
    assert 0 < len(kept._kept) <= 4


def read_all(renderer: VolumeRenderer, state: State, ids: list[str] = IDS) -> list[bytes]:
    found = (state.volume("default", id) for id in ids)
    return [renderer.view(state, volume, UNRESTRICTED) for volume in found if volume is not None]


def test_of_what_is_read_no_more_than_a_bound_is_kept(
    registry: InProcessRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(map(len, read_all(VolumeRenderer(), registry.state)))
    monkeypatch.setattr(rendered, "VIEW_BYTES", size // 2)
    renderer = VolumeRenderer()
    for number in range(30):
        assert read_all(renderer, registry.state) == read_all(VolumeRenderer(), registry.state)
        assert 0 < renderer._bytes <= size // 2
        assert renderer._bytes == sum(len(kept.json) for kept in renderer._kept.values())
        rename(registry, str(number))


def test_removed_volumes_are_not_kept_for_ever(registry: InProcessRegistry) -> None:
    renderer = VolumeRenderer()
    for start in range(0, 3000, 100):
        ids = [f"w{number}" for number in range(start, start + 100)]
        rename(registry, "x", ids)
        assert len(read_all(renderer, registry.state, ids)) == 100
        for id in ids:
            registry.apply(DeregisterVolume("default", id))
    assert len(renderer._kept) < 1500


LAW_PAGES = [
    *PAGES,
    Page(VolumeQuery(None), visible=()),
    Page(VolumeQuery(None), visible=("default",)),
    Page(VolumeQuery(None), visible=("default", "other")),
    Page(VolumeQuery(None, node_id="n")),
    Page(VolumeQuery("other")),
    Page(VolumeQuery("default", prefix="a"), size=1),
    Page(VolumeQuery("default", plugin_id="p", node_id="n1")),
    Page(VolumeQuery(None), start=("default", "a2"), reverse=True),
    Page(VolumeQuery(None), start=("default", "a2"), visible=("default", "other"), size=2),
    Page(VolumeQuery(None), filter='ID matches "^a"', size=2),
    Page(VolumeQuery(None), filter='ID matches "^b"', reverse=True),
]
ELSEWHERE = st.one_of(
    VOLUMES.map(lambda found: RegisterVolumes("other", (found,))),
    st.builds(DeregisterVolume, st.just("other"), st.sampled_from(["a1", "a2", "b1"])),
    st.builds(ClaimVolume, st.just("default"), st.just("a1"), st.just("w1"), st.integers(0, 2), st.just(0)),
)


@given(st.lists(STEPS | ELSEWHERE, min_size=1, max_size=15), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_nothing_that_is_kept_is_ever_given_back_when_it_is_no_longer_true(
    steps: list[Command | Restore], taken: int, at_once: int
) -> None:
    """Each page after each step, in slices of any size, is what its volumes are one by one, as nothing keeps them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "TAKEN", taken)
        patch.setattr(paging, "RENDERED", at_once)
        asyncio.run(_play(steps))


async def _play(steps: list[Command | Restore]) -> None:
    registry, kept, renderer = InProcessRegistry(), VolumeLists(), VolumeRenderer()
    for command in (PutNamespace("other"), *BEGINNING):
        registry.apply(command)
    for step in steps:
        if isinstance(step, Restore):
            registry.restore()
        else:
            registry.apply(step)
        state = registry.state
        for page in LAW_PAGES:
            shown = [volume for volume in state.volumes(VolumeQuery(None)) if page.query.matches(volume)]
            shown = [one for one in shown if page.visible is None or one.namespace in page.visible]
            shown.sort(key=lambda one: (one.namespace, one.id), reverse=page.reverse)
            if page.start is not None:
                at = page.start
                shown = [
                    one for one in shown if (key := (one.namespace, one.id)) == at or (key > at) is not page.reverse
                ]
            if page.filter:
                shown = [one for one in shown if one.id.startswith(page.filter[-3:-1].lstrip("^"))]
            if page.size:
                shown = shown[: page.size]
            items = [encode(volume_item(one, state.plugin_row(one.plugin_id))) for one in shown]
            assert (await kept.page(state, page)).json.raw == b"[" + b",".join(items) + b"]", page
        for volume in state.volumes(VolumeQuery(None)):
            plugin = state.plugin_row(volume.plugin_id)
            assert renderer.view(state, volume, UNRESTRICTED) == encode(
                volume_view(state, volume, plugin, lambda allocation: True)
            )
