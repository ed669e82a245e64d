"""What a claim on a managed node means: when it may be taken, and that it ends by the node's own word."""

from __future__ import annotations

from msgspec.structs import replace

from volstore.core.attach.calls import attaches, settle
from volstore.core.attach.rows import ATTACHED, ATTACHING, DETACHING, Attachment, Host, HostClaim
from volstore.core.model import WRITE, Allocation, MountOptions, Topology, Volume
from volstore.core.rules import Refusal, quoted
from volstore.core.state import State

_ONE_NODE = ("single-node-reader-only", "single-node-writer")
_ONE_WRITER = "multi-node-single-writer"


def check_take(state: State, volume: Volume, allocation: Allocation, mode: int, path: str = "") -> Refusal | None:
    """Why this claim can't be taken for what other nodes have of the volume, or for what its own node is or has."""
    attachments = state.attachments
    if not attachments.used:
        return None
    host = attachments.host(allocation.node_id)
    if host is not None and (why := _shut(host)):
        return Refusal(409, why)
    for other in attachments.of_volume(volume.plugin_id, volume.external_id):
        if other.node_id != allocation.node_id and (why := _in_the_way(other, volume, mode)):
            return Refusal(409, f"volume max claim reached: {why}")
    return None if host is None else _check_host(state, volume, allocation, mode, path)


def _in_the_way(other: Attachment, volume: Volume, mode: int) -> str:
    if volume.access_mode in _ONE_NODE or other.access_mode in _ONE_NODE:
        return f"{volume.access_mode} is for one node at a time, and {words(other)}"
    if mode == WRITE and _ONE_WRITER in (volume.access_mode, other.access_mode):
        writes = [claim.allocation_id for claim in other.claims if claim.mode == WRITE]
        if writes or other.fenced:
            return f"{_ONE_WRITER} takes writers on one node at a time, and {words(other)}"
    return ""


def words(row: Attachment) -> str:
    """What a node has of a volume, and what it waits for."""
    doing = {
        ATTACHING: "gets it attached",
        ATTACHED: "has it",
        DETACHING: "gets it detached",
    }.get(row.state, "is unmounting it")
    why = "; ".join(dict.fromkeys(text for text in (row.error, *(claim.error for claim in row.claims)) if text))
    holders = ", ".join(claim.allocation_id for claim in row.claims[:3])
    of = f" for allocation {holders}" if holders else ""
    return (
        f"node {row.node_id} {doing}{of}{f' ({why})' if why else ''}; if that host is off for good: "
        f"volstore node fence {row.node_id}"
    )


def _check_host(state: State, volume: Volume, allocation: Allocation, mode: int, path: str) -> Refusal | None:
    host, node = state.attachments.host(allocation.node_id), state.node(allocation.node_id)
    if host is None or node is None:
        return Refusal(409, f"node {allocation.node_id} is unknown")
    fingerprint = node.node_plugins.get(volume.plugin_id)
    if fingerprint is None:
        return Refusal(409, f"unschedulable: node {node.id} doesn't run plugin {volume.plugin_id}")
    row = state.attachments.get((volume.plugin_id, volume.external_id, node.id))
    if row is not None:
        return _check_row(row, allocation, mode, volume)
    info = fingerprint.node_info
    if (
        info is not None
        and info.max_volumes
        and (state.attachments.count_on(node.id, volume.plugin_id) >= info.max_volumes)
    ):
        return Refusal(409, f"node {node.id} has the {info.max_volumes} volumes that {volume.plugin_id} takes there")
    if info is not None and volume.topologies and not _reaches(info.accessible_topology, volume.topologies):
        return Refusal(409, f"unschedulable: volume {volume.id} can't be reached from node {node.id}: its topology")
    if path and (error := path_error(path)):
        return Refusal(400, f"validation: {error}")
    return None


def _shut(host: Host) -> str:
    """Why a node takes no volumes at all."""
    if host.fenced:
        return f"node {host.id} is fenced ({host.reason}): volstore node fence -off {host.id} ends that"
    if host.revoked:
        return f"node {host.id} hasn't yet given up what was taken from it while it was fenced"
    if host.draining:
        return f"node {host.id} is drained: volstore node drain -off {host.id} ends that"
    return ""


def path_error(path: str) -> str:
    """Why a path can't be where a volume is shown, "" if it can."""
    if not path.startswith("/") or path != "/" + "/".join(part for part in path.split("/") if part not in ("", ".")):
        return f"the path {quoted(path)} must be absolute, with single slashes and none at its end"
    if ".." in path.split("/") or not path.isprintable() or len(path.encode()) > 1024:
        return f"the path {quoted(path)} must have no .., nothing unprintable, and at most 1024 bytes"
    return ""


def _check_row(row: Attachment, allocation: Allocation, mode: int, volume: Volume) -> Refusal | None:
    if row.state == DETACHING:
        return Refusal(409, f"volume {volume.id} is being detached from node {row.node_id}: claim it once that is done")
    mine = next((claim for claim in row.claims if claim.allocation_id == allocation.id), None)
    if mine is None:
        return None
    if (mine.namespace, mine.volume_id) != (volume.namespace, volume.id):
        return Refusal(409, f"allocation {allocation.id} has this disk as volume {mine.volume_id} already")
    if mine.released:
        return Refusal(409, f"allocation {allocation.id} is still unmounting volume {volume.id}")
    if mine.mode != mode:
        return Refusal(409, f"allocation {allocation.id} holds volume {volume.id} in another mode: release it first")
    return None


def _reaches(here: Topology | None, wanted: tuple[Topology, ...]) -> bool:
    segments = {key.lower(): value for key, value in ((here.segments if here else None) or {}).items()}
    return any(all(segments.get(key.lower()) == value for key, value in (one.segments or {}).items()) for one in wanted)


def take(state: State, volume: Volume, allocation: Allocation, mode: int, path: str = "") -> None:
    """A claim that passed the rules, on a node that may be a managed one."""
    host, node = state.attachments.host(allocation.node_id), state.node(allocation.node_id)
    if host is None or node is None:
        return
    row = state.attachments.get((volume.plugin_id, volume.external_id, node.id)) or _new(state, volume, node.id)
    mine = next((claim for claim in row.claims if claim.allocation_id == allocation.id), None)
    if mine is None:
        mine = HostClaim(
            allocation_id=allocation.id,
            namespace=volume.namespace,
            volume_id=volume.id,
            job_id=allocation.job_id,
            mode=mode,
            path=path,
        )
    elif mine.path == path:
        return
    others = tuple(claim for claim in row.claims if claim.allocation_id != allocation.id)
    settle(state, replace(row, claims=(*others, replace(mine, path=path))))


def _new(state: State, volume: Volume, node_id: str) -> Attachment:
    node = state.node(node_id)
    fingerprint = node.node_plugins.get(volume.plugin_id) if node is not None else None
    info = fingerprint.node_info if fingerprint is not None else None
    options = volume.mount_options or MountOptions()
    needs_attach = attaches(state, volume.plugin_id)
    return Attachment(
        plugin_id=volume.plugin_id,
        external_id=volume.external_id,
        node_id=node_id,
        namespace=volume.namespace,
        volume_id=volume.id,
        state=ATTACHING if needs_attach else ATTACHED,
        epoch=state.index,
        external_node_id=info.id if info is not None else "",
        needs_attach=needs_attach,
        access_mode=volume.access_mode,
        attachment_mode=volume.attachment_mode,
        fs_type=options.fs_type,
        mount_flags=options.mount_flags,
        volume_context=volume.context,
        since=state.index,
    )


def holds(state: State, volume: Volume, node_id: str, allocation_id: str) -> bool:
    """Whether a node's agent has this claim in its hands: it ends by the agent's word alone."""
    row = state.attachments.get((volume.plugin_id, volume.external_id, node_id))
    return row is not None and any(
        (claim.allocation_id, claim.namespace, claim.volume_id) == (allocation_id, volume.namespace, volume.id)
        for claim in row.claims
    )


def release(state: State, volume: Volume, node_id: str, allocation_id: str, *, force: bool = False) -> None:
    """Have the agent give up a claim that it holds."""
    row = state.attachments.get((volume.plugin_id, volume.external_id, node_id))
    if row is None:
        return
    claims = tuple(
        replace(claim, released=claim.released or state.index, force=claim.force or force)
        if claim.allocation_id == allocation_id
        else claim
        for claim in row.claims
    )
    if claims != row.claims:
        settle(state, replace(row, claims=claims))
    else:  # whoever releases waits for work that knows of it
        state.attachments.touch(node_id, state.index)
