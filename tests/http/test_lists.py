"""A list is of one moment however long it is, and what is kept of it is given back only while it is true."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.http.registry import InProcessRegistry
from volstore.commands import DeleteNode, DeregisterVolume, PutNode, RegisterVolumes, SetNodeStatus
from volstore.http import lists, rendered
from volstore.http.lists import Page, VolumeLists
from volstore.http.rendered import VolumeRenderer
from volstore.model import Fingerprint, Node, Volume
from volstore.queries import VolumeQuery

IDS = [f"v{number:02}" for number in range(20)]
PAGES = [
    Page(VolumeQuery("default")),
    Page(VolumeQuery(None)),
    Page(VolumeQuery("default", prefix="v")),
    Page(VolumeQuery("default", plugin_id="p")),
    Page(VolumeQuery("default"), after=("default", "v03"), size=14),
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
    listing = asyncio.create_task(VolumeLists(VolumeRenderer()).page(registry.state, page))
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
    rows = lists._rows

    def counted(*arguments: object) -> list[lists.Row]:
        found = rows(*arguments)  # type: ignore[arg-type]
        taken.append(len(found))
        return found

    monkeypatch.setattr(lists, "_rows", counted)
    listing = asyncio.create_task(VolumeLists(VolumeRenderer()).page(registry.state, PAGES[0]))
    await asyncio.sleep(0)
    registry.apply(PutNode(Node(id="n2", node_plugins={"other": Fingerprint()})))
    await listing
    assert taken == [6, 6, 6, 2]


async def test_a_kept_list_is_given_back_until_something_in_it_moves(registry: InProcessRegistry) -> None:
    kept = VolumeLists(VolumeRenderer())
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
            fresh = await VolumeLists(VolumeRenderer()).page(registry.state, page)
            assert (await kept.page(registry.state, page)).json.raw == fresh.json.raw
            assert (fresh.json.raw != before[page]) or page.after
    registry.restore()
    assert (await kept.page(registry.state, PAGES[0])) is not whole


async def test_what_is_kept_is_bounded(registry: InProcessRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len((await VolumeLists(VolumeRenderer()).page(registry.state, PAGES[0])).json.raw)
    monkeypatch.setattr(lists, "KEPT_BYTES", 4 * size)
    monkeypatch.setattr(rendered, "ITEM_BYTES", size // 2)
    renderer = VolumeRenderer()
    kept = VolumeLists(renderer)
    for number in range(30):
        listed = await kept.page(registry.state, Page(VolumeQuery("default"), after=("default", f"u{number}")))
        assert len(json.loads(listed.json.raw)) == 20
        assert kept._kept_bytes <= 4 * size
        assert renderer._items._bytes <= size // 2
        rename(registry, str(number))
    assert 0 < len(kept._kept) <= 4


async def test_removed_volumes_are_not_kept_for_ever(registry: InProcessRegistry) -> None:
    renderer = VolumeRenderer()
    kept = VolumeLists(renderer)
    for start in range(0, 3000, 100):
        ids = [f"w{number}" for number in range(start, start + 100)]
        rename(registry, "x", ids)
        await kept.page(registry.state, PAGES[0])
        for id in ids:
            registry.apply(DeregisterVolume("default", id))
    await kept.page(registry.state, PAGES[0])
    assert len(renderer._items) < 1500
