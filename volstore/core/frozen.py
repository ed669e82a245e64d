"""What every value that is kept, replicated or put on a disk is: frozen, and in msgpack an array of its fields."""

from __future__ import annotations

from msgspec import Struct


class Frozen(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base of all. A field is only ever added at the end, with a default; a surplus one is an error.

    The garbage collector doesn't see such values: they are trees that are never changed, so no cycle can go through
    one. Else it walked every row of a large state now and then, and stopped its node for 100 ms and more. Nothing that
    refers to something alive (a task, a callback, a node) belongs in one.
    """
