"""Would the cluster still decide with these nodes gone? From what its nodes say of themselves; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LAG = 1000
"""Log entries that a voter may lack and still count: what `operator health` calls lagging, too."""


def too_few(health: Mapping[str, Any], gone: Iterable[str]) -> str | None:
    """Why no majority would be left without `gone`; None if one would. `health` is GET /v1/operator/health's answer.

    A voter counts if it answers, has no fault, is connected to the leader and has most of the log.
    """
    said = {one["Name"]: one["Node"] for one in health["Nodes"] if one["Node"] is not None}
    leader = next((node for node in said.values() if node["role"] == "leader"), None)
    if leader is None:
        return "no node leads now: heal the cluster first"
    voters = [peer for peer in leader["peers"] if peer["server"]["voter"]]
    quorum = len(voters) // 2 + 1
    able = {
        peer["server"]["name"]
        for peer in voters
        if peer["server"]["name"] in said
        and not said[peer["server"]["name"]]["fault"]
        and peer["server"]["status"] == "alive"
        and (peer["lag"] or 0) <= LAG
    }
    left = sorted(able - set(gone))
    if len(left) >= quorum:
        return None
    there = f"{', '.join(left)} would be left" if left else "none would be left"
    return f"of {len(voters)} voters, {len(able)} are well and {quorum} must stay; {there}"
