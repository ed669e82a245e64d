"""Each rule of the pure core, switched off: the law of `test_core` must find that it is missing."""

from __future__ import annotations

from pathlib import Path
from random import Random
from types import ModuleType

import pytest

from tests.node import test_core
from volstore.node import steps, transitions

MODULES = {"steps": steps, "transitions": transitions}
RULES = {
    "a stack of mounts is taken down to one first": ("steps", "    if len(mounts) > 1:", "    if False:"),
    "nothing is unstaged while a target is there": (
        "steps",
        "        if record.stage.phase == ABSENT or there:",
        "        if record.stage.phase == ABSENT:",
    ),
    "a call whose end isn't known may come late": (
        "transitions",
        "    return replace(progress, doubt=True)",
        "    return progress",
    ),
    "a crash leaves a doubt": (
        "transitions",
        "doubt=progress.doubt or progress.phase == STARTED",
        "doubt=progress.doubt",
    ),
    "a user's path is hidden before it is unpublished": ("steps", "    if target.bound is not None:", "    if False:"),
    "reading is read-only": ("steps", "    elif read_only and mounts and", "    elif False and mounts and"),
    "a negation is finished before the next set-up": (
        "steps",
        "    if all_of_it or phase == UNDOING:",
        "    if all_of_it:",
    ),
    "staging is certain before a publish": (
        "steps",
        "record.stage.phase != DONE or",
        "record.stage.phase == ABSENT or",
    ),
    "a late mount is undone although nobody lists it": (
        "steps",
        "        return phase == ABSENT and mounted and doubt",
        "        return False",
    ),
    "mounts are gone after a reboot": (
        "transitions",
        "phase = STARTED if progress.phase == DONE else progress.phase",
        "phase = progress.phase",
    ),
}


def _without(rule: str) -> ModuleType:
    name, old, new = RULES[rule]
    original = MODULES[name]
    assert original.__file__ is not None
    source = Path(original.__file__).read_text()
    assert source.count(old) == 1, f"the rule isn't where this test looks for it: {old}"
    module = ModuleType(original.__name__)
    exec(compile(source.replace(old, new), original.__file__, "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("rule", RULES)
def test_a_missing_rule_is_found(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = _without(rule)
    for name in ("next_step", "begin", "bound", "finish", "loaded", "rebuilt"):
        if hasattr(module, name) and getattr(test_core, name).__module__ == module.__name__:
            monkeypatch.setattr(test_core, name, getattr(module, name))
    with pytest.raises((AssertionError, KeyError, IndexError)):
        _run_all()


def _run_all() -> None:
    for seed in range(test_core.SEEDS):
        test_core.run(Random(seed), events=60)
