"""The agent's tests see nothing of the shell that runs them."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def apart(clean_surroundings: None) -> None:
    """Every test of the agent."""
