"""What may be done: every refusal of a command and its words (contract.md, "Volumes", "Plugins and nodes").

Functions of the state and a command; nothing here changes anything. Terraform's provider repeats a refused register
for nine minutes unless the text has `validation:`, `already exist`, `cannot be updated` or `missing volume
definition`, so each refusal that a repeat can't mend has one of them, after the reference's words.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import NamedTuple

from msgspec.structs import replace

from volstore.core.commands import (
    DeleteNode,
    DeregisterVolume,
    Outcome,
    PutNode,
    RegisterVolumes,
    SetNodeStatus,
    SweepNode,
)
from volstore.core.errors import shortened
from volstore.core.holders import claims, holders, is_alive, running_on
from volstore.core.model import (
    ACCESS_MODES,
    ACCESS_MODES_TODAY,
    ATTACHMENT_MODES,
    NODE_STATUSES,
    Capability,
    Fingerprint,
    Node,
    Volume,
)
from volstore.core.state import State

ID_BYTES = 256
_SHOWN = 256
"""Characters of a client's value that a text repeats: outcomes are remembered, so they stay small."""

# White space and control characters are listed one by one: what Python's \s takes depends on its Unicode tables, and
# members may run different Pythons.
_NOT_IN_IDS = re.compile(
    "[/?#%\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ud800-\udfff]",
)


_SURROGATE = re.compile("[\ud800-\udfff]")


class Refusal(NamedTuple):
    """Why a command changes nothing: an HTTP status and the text that the client sees."""

    status: int
    text: str


def partly(refused: dict[str, str]) -> Refusal:
    """The outcome of a command that was done but for `refused`: why, by ID."""
    return Refusal(200, json.dumps(refused))


def refused_parts(outcome: Outcome) -> dict[str, str]:
    """What `partly` was told; empty where all was done."""
    parts: dict[str, str] = json.loads(outcome.text) if outcome.text else {}
    return parts


def id_refusal(what: str, id: str) -> str | None:
    """Why `id` can't be the ID of a volume, plugin or node: 1-256 bytes of UTF-8, nothing that a path can't hold."""
    if not id:
        return f"validation: missing {what} id"
    found = _NOT_IN_IDS.search(id)
    if found is not None:
        return (
            f"validation: {what} id {quoted(id)} has the character {quoted(found.group())}: an id has no / ? # %, "
            "white space or control characters"
        )
    size = len(id.encode())
    if size > ID_BYTES:
        return f"validation: {what} id {quoted(id)} is {size} bytes long: an id has at most {ID_BYTES}"
    return None


# Volumes.


def form_refusal(volume: Volume) -> str | None:
    """Why the volume as it came is malformed whatever the state (its namespace and computed fields aside)."""
    return shape_refusal(volume, ACCESS_MODES) or _capacity_refusal(volume)


def shape_refusal(volume: Volume, access_modes: tuple[str, ...]) -> str | None:
    """The same of all but its capacities."""
    access, attachment, capabilities = volume.access_mode, volume.attachment_mode, volume.requested_capabilities
    if not (volume.id and volume.plugin_id and (capabilities or (access and attachment))):
        return _missing(volume)
    return (
        id_refusal("volume", volume.id)
        or _modes_refusal("", access, attachment, access_modes)
        or (_capabilities_refusal(capabilities, access_modes) if capabilities else None)
    )


def _missing(volume: Volume) -> str:
    modes = () if volume.requested_capabilities else (volume.access_mode, volume.attachment_mode)
    given = (volume.id, volume.plugin_id, *modes)
    wanted = ("volume id", "plugin id", "access mode", "attachment mode")[: len(given)]
    missing = [f"missing {name}" for name, value in zip(wanted, given, strict=True) if not value]
    return "validation: " + ", ".join(missing)


def _modes_refusal(where: str, access: str, attachment: str, access_modes: tuple[str, ...]) -> str | None:
    """Absent modes pass here."""
    if access in access_modes and attachment in ATTACHMENT_MODES:
        return None
    for kind, mode, known in (("access", access, access_modes), ("attachment", attachment, ATTACHMENT_MODES)):
        if mode and mode not in known:
            return f"validation: {where}unknown {kind} mode {quoted(mode)}, one of: {', '.join(known)}"
    return None


def _capabilities_refusal(capabilities: tuple[Capability, ...], access_modes: tuple[str, ...]) -> str | None:
    for number, capability in enumerate(capabilities):
        where = f"RequestedCapabilities[{number}]: "
        modes = (("access", capability.access_mode), ("attachment", capability.attachment_mode))
        missing = [f"missing {kind} mode" for kind, mode in modes if not mode]
        if missing:
            return f"validation: {where}{', '.join(missing)}"
        refusal = _modes_refusal(where, capability.access_mode, capability.attachment_mode, access_modes)
        if refusal is not None:
            return refusal
    return None


def _capacity_refusal(volume: Volume) -> str | None:
    """A maximum of 0 is no maximum."""
    low, high = volume.requested_capacity_min, volume.requested_capacity_max
    if low == high == volume.capacity == 0:
        return None
    refusal = bytes_refusal(volume)
    if refusal is not None:
        return refusal
    if high and low > high:
        return f"validation: RequestedCapacityMin {low} is greater than RequestedCapacityMax {high}"
    return None


def bytes_refusal(volume: Volume) -> str | None:
    for name, value in (
        ("RequestedCapacityMin", volume.requested_capacity_min),
        ("RequestedCapacityMax", volume.requested_capacity_max),
        ("Capacity", volume.capacity),
    ):
        if value < 0:
            return f"validation: {name} is {value}: it is a number of bytes, at least 0"
    return None


def check_register(state: State, command: RegisterVolumes) -> Refusal | None:
    """First every volume's form and plugin, then every volume against what is there; the first that fails."""
    if not command.volumes:
        return Refusal(400, "missing volume definition")
    seen: set[str] = set()
    for volume in command.volumes:
        form = form_refusal(volume)
        if form is not None:
            return Refusal(400, form)
        if volume.id in seen:
            return Refusal(400, f"validation: volume id {quoted(volume.id)} is given twice")
        seen.add(volume.id)
        if state.plugin(volume.plugin_id) is None:
            # A repeat can mend this one: plugins come as nodes start.
            return Refusal(400, f"no CSI plugin named: {short(volume.plugin_id)} could be found")
    for volume in command.volumes:
        if state.namespace(command.namespace) is None:
            return Refusal(
                400,
                f"volume {volume.id} is in nonexistent namespace {short(command.namespace)}: "
                "validation: a volume is registered in a namespace that exists",
            )
        existing = state.volume(command.namespace, volume.id)
        change = None if existing is None else _change_refusal(state, existing, volume)
        if change is not None:
            return Refusal(409, f"volume exists: {volume.id}: {change}")
    return None


def _change_refusal(state: State, existing: Volume, volume: Volume) -> str | None:
    """Why the registered volume can't become the new one."""
    if existing.in_use:
        return f"cannot be updated while in use by {holders(state, existing)}"
    plugin = state.plugin(volume.plugin_id)
    changes = (
        ("external ID", existing.external_id, volume.external_id),
        ("plugin", existing.plugin_id, volume.plugin_id),
        ("provider", existing.provider, plugin.provider if plugin is not None else ""),
    )
    for name, old, new in changes:
        if old != new:
            return f"its {name} cannot be updated from {quoted(old)} to {quoted(new)}; deregister the volume first"
    return None


def check_deregister(state: State, command: DeregisterVolume) -> Refusal | None:
    """`force` removes a volume in use only if every claimant is terminal or has vanished."""
    if not command.id:
        return Refusal(400, "missing volume ID")
    volume = state.volume(command.namespace, command.id)
    if volume is None:
        return Refusal(404, f"volume not found: {short(command.id)}")
    if not volume.in_use or (command.force and not any(is_alive(state, claim) for claim in claims(volume))):
        return None
    return Refusal(409, f"volume in use: {volume.id}: claimed by {holders(state, volume)}")


# Nodes.


def check_put_node(state: State, command: PutNode) -> Refusal | None:
    """A node is known by its secret from the first report that had one."""
    node = command.node
    refusal = id_refusal("node", node.id) or _status_refusal(node.status)
    for name, fingerprints in (
        ("CSIControllerPlugins", node.controller_plugins),
        ("CSINodePlugins", node.node_plugins),
    ):
        refusal = refusal or _fingerprints_refusal(name, fingerprints)
    if refusal is not None:
        return Refusal(400, refusal)
    known = state.node(node.id)
    if known is not None and known.secret_hash and known.secret_hash != node.secret_hash:
        return Refusal(403, "node secret ID does not match. Not registering node.")
    return None


def check_set_node_status(state: State, command: SetNodeStatus) -> Refusal | None:
    refusal = _status_refusal(command.status)
    if refusal is not None:
        return Refusal(400, refusal)
    node = state.node(command.id)
    if node is None:
        return Refusal(404, "node not found")
    return _changed_meanwhile(node, command.if_modify_index)


def check_delete_node(state: State, command: DeleteNode) -> Refusal | None:
    node = state.node(command.id)
    return Refusal(404, "node not found") if node is None else _changed_meanwhile(node, command.if_modify_index)


def check_sweep_node(state: State, command: SweepNode) -> Refusal | None:
    """Nomad's nodeGC skips nodes with allocations that aren't terminal, too: no clock frees what may still run."""
    node, since = state.node(command.id), state.timers.down_since(command.id)
    if node is None:
        return Refusal(404, "node not found")
    refusal = _changed_meanwhile(node, command.if_modify_index)
    if refusal is not None:
        return refusal
    if node.status != "down" or since is None or state.log_time - since < command.down_for:
        return Refusal(409, f"node {node.id} has not been down for {command.down_for // 10**9} s")
    if not command.running and (running := running_on(state, node.id)) is not None:
        return Refusal(
            409, f"node {node.id} holds a volume for allocation {running.allocation_id}, which has not ended"
        )
    return None


def _changed_meanwhile(node: Node, wanted: int) -> Refusal | None:
    if wanted in (0, node.modify_index):
        return None
    return Refusal(409, f"node {node.id} has changed meanwhile: its ModifyIndex is {node.modify_index}, not {wanted}")


def _status_refusal(status: str) -> str | None:
    if status in NODE_STATUSES:
        return None
    return f"validation: unknown node status {quoted(status)}, one of: {', '.join(NODE_STATUSES)}"


def _fingerprints_refusal(name: str, fingerprints: dict[str, Fingerprint]) -> str | None:
    for plugin_id, fingerprint in fingerprints.items():
        refusal = id_refusal("plugin", plugin_id)
        if refusal is not None:
            return refusal
        if fingerprint.plugin_id not in ("", plugin_id):
            return (
                f"validation: {name}[{quoted(plugin_id)}] has the PluginID {quoted(fingerprint.plugin_id)}: "
                "it must be the plugin's that it stands under"
            )
    return None


# What is stored.


def modes_and_capabilities(volume: Volume) -> tuple[str, str, tuple[Capability, ...]]:
    """Access mode, attachment mode and capabilities of a volume that passed the rules: what didn't come is made of the
    others."""
    capabilities = volume.requested_capabilities or _capability(volume.access_mode, volume.attachment_mode)
    first = capabilities[0]
    return volume.access_mode or first.access_mode, volume.attachment_mode or first.attachment_mode, capabilities


@lru_cache(maxsize=len(ACCESS_MODES_TODAY) * len(ATTACHMENT_MODES))
def _capability(access_mode: str, attachment_mode: str) -> tuple[Capability, ...]:
    """One for all volumes with these modes: there are not many."""
    return (Capability(access_mode, attachment_mode),)


def normalised_node(node: Node) -> Node:
    """The node with every fingerprint naming the plugin that it stands under."""

    def named(fingerprints: dict[str, Fingerprint]) -> dict[str, Fingerprint]:
        return {id: replace(fingerprint, plugin_id=id) for id, fingerprint in fingerprints.items()}

    return replace(node, controller_plugins=named(node.controller_plugins), node_plugins=named(node.node_plugins))


def short(text: str) -> str:
    return shortened(text, _SHOWN)


def quoted(text: str) -> str:
    """In double quotes, with anything unprintable escaped."""
    return json.dumps(short(text), ensure_ascii=not text.isascii() and bool(_SURROGATE.search(text)))
