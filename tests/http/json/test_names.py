"""Keys of bodies: in any case where no other is exact, and refused by name where nobody reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.http.server.test_every_route import ALL_OPERATIONS, BODIES
from volstore.core.model import MountOptions
from volstore.http.endpoints.allocation_body import MANY
from volstore.http.endpoints.claims import REQUEST
from volstore.http.endpoints.node_body import REPORT
from volstore.http.endpoints.volume_body import REGISTER, read_volumes
from volstore.http.json.reader import InvalidBody, read_batch, read_json
from volstore.http.json.shape import Kind

BODIES_WITH_RIGHTS: dict[str, Any] = {
    **BODIES,
    "putAclPolicy": {"Name": "v", "Rules": ""},
    "createAclToken": {"Name": "v", "Type": "client", "Policies": ["v"]},
    "changeAclToken": {"AccessorID": "v", "Name": "v"},
}
WITH_BODIES = {endpoint.name: endpoint.body for _, _, endpoint in ALL_OPERATIONS if endpoint.body is not None}
KEPT_WHOLE = {"reportAllocation"}
"""An allocation's stub is kept as it came."""


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("name", sorted(WITH_BODIES))
def test_every_body_refuses_a_field_that_nobody_reads_and_takes_one_that_says_nothing(name: str) -> None:
    kind: Kind[Any] = WITH_BODIES[name]
    good = BODIES_WITH_RIGHTS.get(name) or {}
    read_json(body(good), kind)
    if name not in KEPT_WHOLE:
        for nothing in ("null", '""', "0", "false", "[]", "{}"):
            more = {**good, "FieldOfANewerClient": json.loads(nothing)}
            assert read_json(body(more), kind) == read_json(body(good), kind)
        for unknown in ("x", 1, True, ["x"], {"a": 1}):
            with pytest.raises(InvalidBody, match="Bogus: unknown field, expected one of: "):
                read_json(body({**good, "Bogus": unknown}), kind)


@pytest.mark.parametrize(
    ("kind", "value", "place"),
    [
        (REGISTER, {"Volumes": [{"ID": "v", "Secrts": {"a": "b"}}]}, "Volumes[0].Secrts"),
        (REGISTER, {"Volumes": [{"ID": "v", "MountOptions": {"FsTyp": "ext4"}}]}, "Volumes[0].MountOptions.FsTyp"),
        (
            REGISTER,
            {"Volumes": [{"ID": "v", "RequestedCapabilities": [{"Mode": "x"}]}]},
            "Volumes[0].RequestedCapabilities[0].Mode",
        ),
        (REGISTER, {"ID": "v", "Volume": [1]}, "Volume"),
        (REGISTER, {"Volumes": [{"ID": "v"}], "Force": True}, "Force"),
        (REPORT, {"Node": {"ID": "n", "Pool": "gpu"}}, "Node.Pool"),
        (REPORT, {"CSINodePlugins": {"p": {"Helthy": True}}}, "CSINodePlugins.p.Helthy"),
        (MANY, {"Allocations": [{"ID": "a"}], "Stale": True}, "Stale"),
        (REQUEST, {"AllocationID": "a", "Mode": "read", "Access": "x"}, "Access"),
    ],
)
def test_the_field_is_named_with_its_place(kind: Kind[Any], value: Any, place: str) -> None:
    with pytest.raises(InvalidBody) as refused:
        read_json(body(value), kind)
    assert refused.value.text.startswith(f"validation: {place}: unknown field, expected one of: ")


def test_a_large_bodys_fields_beside_the_list_are_read_as_strictly() -> None:
    def read(value: Any) -> Any:
        reading = read_batch(body(value), REGISTER)
        while True:
            try:
                next(reading)
            except StopIteration as end:
                return end.value

    assert [row.id for row in read({"Volumes": [{"id": "v"}], "Region": "global"})] == ["v"]
    for odd in ({"Volumes": [{"ID": "v"}], "Bogus": 1}, {"Volumes": [{"ID": "v", "Bogus": 1}]}):
        with pytest.raises(InvalidBody, match="Bogus: unknown field"):
            read(odd)


@pytest.mark.parametrize(
    "value",
    [
        {"volumes": [{"id": "v", "externalid": "e", "MOUNTOPTIONS": {"fstype": "ext4"}, "secrets": {"Key": "k"}}]},
        {"id": "v", "externalId": "e", "mountOptions": {"FSTYPE": "ext4"}, "SECRETS": {"Key": "k"}},
    ],
)
def test_a_key_in_another_case_is_the_member(value: Any) -> None:
    (row,) = read_volumes(body(value))
    assert (row.id, row.external_id, row.secrets) == ("v", "e", {"Key": "k"})
    assert row.mount_options == MountOptions("ext4")


@pytest.mark.parametrize("value", [{"ID": "v", "id": "w"}, {"id": "v", "Id": "w"}])
def test_a_member_in_two_spellings_is_refused(value: Any) -> None:
    with pytest.raises(InvalidBody, match="the field ID is there twice, in two spellings"):
        read_volumes(body({"Volumes": [value]}))
