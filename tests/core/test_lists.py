"""Lists: their order, their filters, and that a page costs what it shows."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.core.machine import Machine, claim, fingerprint, machine_with_plugin, volume
from volstore.core.model import Namespace
from volstore.core.queries import Key, VolumeQuery


def prepared() -> Machine:
    machine = machine_with_plugin()
    machine.report("n2", node_plugins={"pq": fingerprint()})
    machine.state.put_namespace(Namespace(name="a-first"))
    machine.register(volume("b"), volume("a"), volume("ab", plugin_id="pq"), volume("é"), volume("Z"))
    machine.register(volume("a"), namespace="a-first")
    machine.claim("a", claim("alloc1", "n1"), claim("alloc2", "n10", 1))
    machine.claim("b", claim("alloc3", "n2", 2))
    return machine


@pytest.mark.parametrize(
    ("query", "after", "expected"),
    [
        (VolumeQuery(), None, "a-first/a default/Z default/a default/ab default/b default/é"),
        (VolumeQuery("default"), None, "default/Z default/a default/ab default/b default/é"),
        (VolumeQuery("nope"), None, ""),
        (VolumeQuery(prefix="a"), None, "a-first/a default/a default/ab"),
        (VolumeQuery(prefix="a"), ("a-first", "a"), "default/a default/ab"),
        (VolumeQuery(prefix="a"), ("default", "a"), "default/ab"),
        (VolumeQuery(prefix="a"), ("default", "b"), ""),
        (VolumeQuery(prefix="b"), ("default", "a"), "default/b"),
        (VolumeQuery("default"), ("default", "aa"), "default/ab default/b default/é"),
        (VolumeQuery("default"), ("zzz", ""), ""),
        (VolumeQuery("default", plugin_id="p"), None, "default/Z default/a default/ab default/b default/é"),
        (VolumeQuery("default", plugin_id="pq"), None, "default/ab"),
        (VolumeQuery("default", plugin_id="x"), None, ""),
        (VolumeQuery("default", node_id="n"), None, "default/a default/b"),
        (VolumeQuery("default", node_id="n1"), None, "default/a"),
        (VolumeQuery("default", node_id="n10"), None, "default/a"),
        (VolumeQuery("default", "b", "p", "n2"), None, "default/b"),
        (VolumeQuery("default", "a", "pq", "n1"), None, ""),
    ],
)
def test_a_list_has_what_all_filters_take_by_namespace_then_id(
    query: VolumeQuery, after: Key | None, expected: str
) -> None:
    found = prepared().state.volumes(query, after)
    assert " ".join(f"{each.namespace}/{each.id}" for each in found) == expected


@pytest.mark.parametrize(
    "query", [VolumeQuery(), VolumeQuery("default"), VolumeQuery(prefix="v1"), VolumeQuery(None, "", "p")]
)
def test_a_page_looks_at_no_more_rows_than_it_shows(query: VolumeQuery) -> None:
    machine = machine_with_plugin()
    machine.register(*(volume(f"v{number:04d}") for number in range(2000)))
    looked_at: list[Key] = []

    class Counting(dict[Key, object]):
        def __getitem__(self, key: Key) -> object:
            looked_at.append(key)
            return super().__getitem__(key)

    table = machine.state._volumes.table
    table.rows = Counting(table.rows)  # type: ignore[assignment]  # a dict that notes who looks
    page = list(islice(machine.state.volumes(query, ("default", "v1500")), 10))
    assert [each.id for each in page] == [f"v{number}" for number in range(1501, 1511)]
    assert len(looked_at) == 10


def test_namespaces_start_with_the_default() -> None:
    state = Machine().state
    assert [(each.name, each.create_index) for each in state.namespaces()] == [("default", 1)]
