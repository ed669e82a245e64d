"""Bodies that cost the reader more than they cost the sender, for tests and `tests.bench.costs`: each of about `size`.

One of each kind that ever hurt, or could: what a decoder makes of it is far larger than its text, or takes a way of its
own. Whether a route takes it isn't said.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

FULL = 4 * 1024 * 1024
"""What a node takes in one body unless told otherwise."""


def _list(name: bytes, member: bytes, size: int) -> bytes:
    count = max(1, (size - len(name) - 8) // (len(member) + 1))
    return b'{"%s":[' % name + b",".join([member] * count) + b"]}"


def _filled(before: bytes, piece: bytes, after: bytes, size: int) -> bytes:
    return before + piece * max(1, (size - len(before) - len(after)) // len(piece)) + after


def _keys(size: int) -> bytes:
    return b",".join(b'"%x":""' % n for n in range(max(1, size // 13)))


def _volumes(size: int) -> bytes:
    member = b'{"ID":"v%06d","PluginID":"p","AccessMode":"single-node-writer","AttachmentMode":"file-system"}'
    return b'{"Volumes":[' + b",".join(member % n for n in range(max(1, size // 104))) + b"]}"


_DEEP_TWICE = b'{"a":1,"a":2}'

SHAPES: dict[str, Callable[[int], bytes]] = {
    "empty volumes": lambda size: _list(b"Volumes", b"{}", size),
    "empty allocations": lambda size: _list(b"Allocations", b"{}", size),
    "nulls for volumes": lambda size: _list(b"Volumes", b"null", size),
    "small volumes": _volumes,
    "volumes with unknown members": lambda size: _list(b"Volumes", b'{"ID":"v","x":[' + b"{}," * 999 + b"{}]}", size),
    "allocations with unknown members": lambda size: _list(
        b"Allocations", b'{"ID":"a","x":[' + b'{"a":1},' * 999 + b"{}]}", size
    ),
    "a large unknown member": lambda size: _filled(b'{"Volumes":[{"ID":"v"}],"x":[', b"[],", b"[]]}", size),
    "one object of many keys": lambda size: b'{"Volumes":[{"ID":"v","Parameters":{' + _keys(size) + b"}}]}",
    "a flat volume of many keys": lambda size: b'{"ID":"v","Parameters":{' + _keys(size) + b"}}",
    "a flat allocation of empty objects": lambda size: _filled(b'{"ID":"a","x":[', b"{},", b"{}]}", size),
    "plugins": lambda size: b'{"CSINodePlugins":{' + _keys(size).replace(b'""', b"{}") + b"}}",
    "policies": lambda size: _filled(b'{"Type":"client","Policies":[', b'"p",', b'"p"]}', size),
    "numbers": lambda size: _filled(b'{"Volumes":[', b"1,", b"1]}", size),
    "fractions": lambda size: _filled(b'{"Volumes":[', b"1.5e-7,", b"1]}", size),
    "a long number": lambda size: _filled(b'{"Volumes":', b"9", b"}", size),
    "only opened": lambda size: b"[" * size,
    "opened and named": lambda size: _filled(b"", b'{"a":', b"", size),
    "opened and closed": lambda size: b"[" * (size // 2) + b"]" * (size // 2),
    "900 levels, and a key twice behind": lambda size: _filled(
        b'{"Volumes":' + b"[" * 900, b"1,", _DEEP_TWICE + b"]" * 900 + b"}", size
    ),
    "30 levels, and a key twice behind": lambda size: _filled(
        b'{"Volumes":' + b"[" * 28, b"1,", _DEEP_TWICE + b"]" * 28 + b"}", size
    ),
    "a key twice in the last": lambda size: _filled(b'{"Volumes":[', b'{"ID":"v"},', b'{"ID":"v","ID":"v"}]}', size),
    "every key twice": lambda size: _list(b"Volumes", _DEEP_TWICE, size),
    "the list twice": lambda size: _volumes(size // 2)[:-1] + b"," + _volumes(size // 2)[1:],
    "a long text": lambda size: _filled(b'{"Prefix":"', b"x", b'"}', size),
    "a long text in a volume": lambda size: _filled(b'{"Volumes":[{"Name":"', b"x", b'"}]}', size),
    "a long text of commas and brackets": lambda size: _filled(b'{"Volumes":[{"ID":"', b",[{:", b'"}]}', size),
    "a long text of escapes": lambda size: _filled(b'{"Volumes":[{"ID":"', b'\\"', b'"}]}', size),
    "a long text of backslashes": lambda size: _filled(b'{"Volumes":[{"ID":"', b"\\\\", b'"}]}', size),
    "a long text of surrogates": lambda size: _filled(b'{"Volumes":[{"ID":"', b"\\ud83d", b'"}]}', size),
    "a long text never closed": lambda size: _filled(b'{"Volumes":[{"ID":"', b"x", b"", size),
    "a long key": lambda size: _filled(b'{"Volumes":[{"', b"k", b'":1}]}', size),
    "quotes": lambda size: b'"' * size,
    "colons": lambda size: b'{"a"' + b":" * size,
    "commas": lambda size: b"[" + b"," * size,
    "backslashes": lambda size: b"\\" * size,
    "spaces": lambda size: b" " * size,
    "a list amid spaces": lambda size: _filled(b'{"Volumes":', b" ", b'[{"ID":"v"}]}', size),
    "not UTF-8": lambda size: _filled(b'{"Volumes":[{"ID":"', b"\xff", b'"}]}', size),
    "zeros": lambda size: b"\x00" * size,
    "large rules": lambda size: _filled(b'{"Name":"x","Rules":"', b'namespace \\"n\\" {}\\n', b'"}', size),
}

bodies = st.builds(
    lambda shape, size: SHAPES[shape](size),
    st.sampled_from(sorted(SHAPES)),
    st.sampled_from((40, 3_000, 60_000, 270_000, 700_000)),
)
"""Of every shape, as long as the bounds are apart."""
