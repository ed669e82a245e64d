"""Copies of this tree as other builds: as it is, of the level before, and of the next, with a command of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

HERE = Path(__file__).parents[2]

_OFTEN = {"cluster/node/applier.py": [("MARK_EVERY = 1024", "MARK_EVERY = 16")]}
"""Members compare their states every few entries: a difference between builds can't hide in a short test."""

_NEXT = {
    "volstore/core/levels.py": [("LEVEL = 2\n", "LEVEL = 3\n")],
    "volstore/core/acl/commands.py": [
        (
            'class DeleteNamespace(Frozen, frozen=True, tag="delete-',
            'class DescribeNamespace(Frozen, frozen=True, tag="describe-namespace"):\n'
            "    name: str\n"
            "    description: str\n\n\n"
            'class DeleteNamespace(Frozen, frozen=True, tag="delete-',
        ),
        ("PutNamespace | DeleteNamespace\n", "PutNamespace | DeleteNamespace | DescribeNamespace\n"),
    ],
    "volstore/core/commands.py": [
        ("    DeleteNamespace,\n    Put", "    DeleteNamespace,\n    DescribeNamespace,\n    Put"),
        ("    DeleteNamespace: 1,\n", "    DeleteNamespace: 1,\n    DescribeNamespace: 3,\n"),
    ],
    "volstore/core/acl/apply.py": [
        ("    DeleteNamespace,\n", "    DeleteNamespace,\n    DescribeNamespace,\n"),
        (
            "    DeleteNamespace: _delete_namespace,\n",
            "    DeleteNamespace: _delete_namespace,\n"
            "    DescribeNamespace: lambda state, it: _put_namespace(state, PutNamespace(it.name, it.description)),\n",
        ),
    ],
    "volstore/http/endpoints/namespaces.py": [
        ("import DeleteNamespace, ", "import DeleteNamespace, DescribeNamespace, "),
        (
            "    return PutNamespace(name, description)\n",
            "    return DescribeNamespace(name, description) if description else PutNamespace(name)\n",
        ),
    ],
}
"""In the next build, a namespace's description takes a command that this one doesn't know."""


_BEFORE = {"volstore/core/levels.py": [("LEVEL = 2\n", "LEVEL = 1\n")]}
"""A build of level 1 never proposes what came later, so it does what the first release did."""


def build_before(folder: Path) -> Path:
    return _copy(folder / "before", _OFTEN, _BEFORE)


def this_build(folder: Path) -> Path:
    return _copy(folder / "this", _OFTEN)


def next_build(folder: Path) -> Path:
    return _copy(folder / "next", _OFTEN, _NEXT)


def _copy(target: Path, *changes: dict[str, list[tuple[str, str]]]) -> Path:
    for package in ("cluster", "volstore"):
        shutil.copytree(HERE / package, target / package, ignore=shutil.ignore_patterns("__pycache__"))
    for change in changes:
        for name, replacements in change.items():
            text = (target / name).read_text()
            for old, new in replacements:
                assert text.count(old) == 1, f"{name} was to have once: {old}"
                text = text.replace(old, new)
            (target / name).write_text(text)
    return target
