"""For all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# A shell without job control starts what it puts in the background with interrupts ignored, and every process that a
# test starts would inherit that: those that are interrupted here would go on for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the variables of the shell that runs the tests, and in a directory of the test's own."""
    for variable in list(os.environ):
        if variable.startswith(("VOLSTORE_", "NOMAD_", "_VOLSTORE_")) or variable == "NO_COLOR":
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
