"""How volumes on hosts move the state: one small applier per command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from volstore.core.attach import calls, fences, reports
from volstore.core.attach.commands import CancelOperation, DrainNode, FenceNode, ReportAttachments, ReportOutcome
from volstore.core.attach.rows import Host
from volstore.core.rules import Refusal
from volstore.core.state import State


def manage(state: State, node_id: str) -> None:
    """From now on the node's agent manages its volumes."""
    if state.attachments.host(node_id) is None:
        state.attachments.put_host(Host(id=node_id, work_index=state.index))
    calls.follow_node(state, node_id)


def departure_refusal(state: State, node_id: str) -> Refusal | None:
    """Why a node can't be forgotten: what it has would be taken for free."""
    rows = state.attachments.on_node(node_id)
    if rows:
        return Refusal(
            409,
            f"node {node_id} has volumes ({', '.join(row.external_id for row in rows[:3])}): let its agent unmount "
            f"them, or, if that host is off for good: volstore node fence {node_id}",
        )
    if state.attachments.assigned_to(node_id):
        return Refusal(409, f"node {node_id} is making a controller's call: repeat once that has ended")
    return None


APPLIERS: dict[type, Callable[[State, Any], Refusal | None]] = {
    ReportAttachments: reports.take_report,
    ReportOutcome: calls.take_outcome,
    FenceNode: fences.fence,
    DrainNode: fences.drain,
    CancelOperation: fences.cancel,
}
"""PutManagedNode isn't here: it is what PutNode is, and more."""
