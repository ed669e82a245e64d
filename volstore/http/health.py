"""Says in words what is wrong with a cluster, from what each of its nodes says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from volstore.http.cluster_admin import NodeView, PeerView
from volstore.quorum import majority
from volstore.units import format_duration

LAG = 1000
"""Log entries that a member may lack before it is worth a word."""
SLOW_SYNC = 0.1
"""Seconds of a sync from which on a disk is called slow."""
LEAST_FREE = 1 << 30
"""Bytes of disk below which it is called nearly full."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was asked of one member: what it said, or why it said nothing."""

    name: str
    node: NodeView | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class ClusterHealth:
    """`tolerance`: how many voters may still be lost before writes stop. `problems` is empty when all is well."""

    healthy: bool
    tolerance: int
    problems: tuple[str, ...]


def judge(asked: NodeView, reports: Sequence[Report]) -> ClusterHealth:
    """`asked` is the node that was asked first; `reports` has one for each member, also for those without an answer."""
    problems: list[str] = []
    voters = [peer.server for peer in asked.peers if peer.server.voter]
    said = {report.name: report.node for report in reports if report.node is not None}
    quorum = majority(len(voters))
    able = [server.name for server in voters if server.name in said and not said[server.name].fault]
    tolerance = len(able) - quorum
    leader = next((node for node in said.values() if node.role == "leader"), None)
    if leader is None:
        problems.append(f"no node leads: {len(able)} of {len(voters)} voters can be asked, {quorum} are needed")
    for report in reports:
        if report.node is None:
            problems.append(f"{report.name} does not answer: {report.why}")
        else:
            problems += _of_node(report.node)
    if leader is not None:
        for peer in leader.peers:
            problems += _of_peer(peer)
    problems += _differences(said)
    if tolerance <= 0 and len(voters) > 1 and leader is not None:
        problems.append(f"no other voter may be lost: {len(able)} of {len(voters)} can be asked, {quorum} are needed")
    return ClusterHealth(not problems, max(tolerance, 0), tuple(problems))


def _of_node(node: NodeView) -> list[str]:
    found = []
    if node.fault:
        found.append(f"{node.name} acknowledges nothing: {node.fault}")
    if node.log_fault:
        found.append(f"the log of {node.name} can't be written to stderr as it comes: {node.log_fault}")
    if node.last_sync_seconds > SLOW_SYNC:
        found.append(f"the disk of {node.name} is slow: its last sync took {format_duration(node.last_sync_seconds)}")
    if node.disk_free_bytes < LEAST_FREE:
        found.append(f"the disk of {node.name} is nearly full: {node.disk_free_bytes >> 20} MiB are free")
    return found


def _of_peer(peer: PeerView) -> list[str]:
    name = peer.server.name
    if peer.snapshot_progress is not None:
        return [f"{name} is being sent a snapshot: {peer.snapshot_progress:.0%}"]
    if not peer.server.voter:
        return [f"{name} has no vote yet: it lacks {peer.lag} entries"]
    if peer.lag is not None and peer.lag > LAG:
        return [f"{name} is {peer.lag} log entries behind"]
    return []


def _differences(said: Mapping[str, NodeView]) -> list[str]:
    found = []
    by_index: dict[int, dict[str, list[str]]] = {}
    for node in said.values():
        by_index.setdefault(node.fsm_index, {}).setdefault(node.digest, []).append(node.name)
    for index, digests in by_index.items():
        if len(digests) > 1:
            sides = " from ".join(" and ".join(sorted(names)) for names in digests.values())
            found.append(f"the state at index {index} of {sides} differs: stop the one that is alone, and replace it")
    versions = sorted({node.version for node in said.values()})
    if len(versions) > 1:
        found.append(f"the nodes run different versions: {', '.join(versions)}")
    clusters = sorted({node.cluster_id for node in said.values()})
    if len(clusters) > 1:
        found.append(f"the nodes say that they belong to different clusters: {', '.join(clusters)}")
    return found
