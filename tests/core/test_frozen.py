"""Values that are kept are out of the garbage collector's sight, and rows share what is empty without filling it."""

from __future__ import annotations

import gc

from volstore.core.commands import RegisterVolumes
from volstore.core.frozen import Frozen
from volstore.core.model import Volume


def kinds(base: type[Frozen]) -> set[type[Frozen]]:
    return {base}.union(*(kinds(one) for one in base.__subclasses__()))


def test_no_kept_value_is_walked_by_the_collector() -> None:
    found = kinds(Frozen)
    assert {Volume, RegisterVolumes} < found
    assert [one.__name__ for one in found if one.__struct_config__.gc is not False] == []
    assert not gc.is_tracked(Volume(id="a", secrets={"user": "k"}))
