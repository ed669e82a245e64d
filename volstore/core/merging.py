"""Registering as today's Nomad does: what is there takes what is given, and keeps what isn't.

A registration of what is there already is a change of some of it. What names or makes the storage can't change; what
a user rotates (secrets, context) can, also while the volume is in use. The texts are today's Nomad's, with the words
that keep Terraform's provider from repeating what can't succeed (rules.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from volstore.core.commands import MergeVolumes
from volstore.core.holders import holders
from volstore.core.model import (
    ACCESS_MODES_TODAY,
    NOTHING,
    READER_AS_INIT_WRITES,
    READER_ONLY,
    Capability,
    DatedVolume,
    MountOptions,
    Plugin,
    Topology,
    TopologyRequest,
    Volume,
    dates,
)
from volstore.core.queries import Key
from volstore.core.rules import Refusal, bytes_refusal, modes_and_capabilities, quoted, shape_refusal, short
from volstore.core.state import State

REDACTED = "[REDACTED]"
"""What a read shows in place of the mount flags."""
_NO_IDS = (".", "..")
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def merge_form_refusal(volume: Volume) -> str | None:
    """Why the volume as it came is malformed whatever the state (its computed fields aside)."""
    refusal = shape_refusal(volume, ACCESS_MODES_TODAY)
    if refusal is not None:
        return refusal
    if volume.id in _NO_IDS:
        return f"validation: volume id {quoted(volume.id)} can't be read back: in a path it is a step, and no name"
    if volume.clone_id and volume.snapshot_id:
        return "validation: only one of snapshot_id and clone_id is allowed"
    return _capacity_refusal(volume) or _request_refusal(volume.requested_topologies)


def _capacity_refusal(volume: Volume) -> str | None:
    """A maximum of 0 is no maximum."""
    low, high = volume.requested_capacity_min, volume.requested_capacity_max
    if low == high == volume.capacity == 0:
        return None
    refusal = bytes_refusal(volume)
    if refusal is None and high and high < low:
        refusal = f"validation: max requested capacity ({size(high)}) less than or equal to min ({size(low)})"
    return refusal


def _request_refusal(request: TopologyRequest | None) -> str | None:
    if request is not None:
        for kind, topologies in (("required", request.required), ("preferred", request.preferred)):
            if not all(topology.segments for topology in topologies):
                return f"validation: {kind} topology is missing segments field"
    return None


def size(number: int) -> str:
    """Bytes as people read them, in powers of 1000 (`5 GB`, `1.5 TB`)."""
    power = (len(str(number)) - 1) // 3
    whole, tenth = divmod(number * 10 // 1000**power, 10)
    return f"{whole}.{tenth} {_UNITS[power]}" if tenth and whole < 10 else f"{whole} {_UNITS[power]}"


def check_merge(state: State, command: MergeVolumes) -> Refusal | None:
    """First every volume's form and plugin, then every volume against what is there; the first that fails."""
    if not command.volumes:
        return Refusal(400, "missing volume definition")
    seen: set[Key] = set()
    for volume in command.volumes:
        form = merge_form_refusal(volume)
        if form is not None:
            return Refusal(400, form)
        key = volume.namespace, volume.id
        if key in seen:
            return Refusal(400, f"validation: volume id {quoted(volume.id)} is given twice")
        seen.add(key)
        if state.plugin(volume.plugin_id) is None:
            # A repeat can mend this one: plugins come as nodes start.
            return Refusal(400, f"no CSI plugin named: {short(volume.plugin_id)} could be found")
    for volume in command.volumes:
        if state.namespace(volume.namespace) is None:
            return Refusal(
                400,
                f"volume {volume.id} is in nonexistent namespace {short(volume.namespace)}: "
                "validation: a volume is registered in a namespace that exists",
            )
        existing = state.volume(volume.namespace, volume.id)
        if existing is not None:
            refusal = _change_refusal(state, existing, _plain(volume))
            if refusal is not None:
                return refusal
        elif _is_redacted(volume.mount_options):
            return Refusal(400, f"validation: {_REDACTED_FLAGS}")
    return None


_REDACTED_FLAGS = (
    f'MountOptions.MountFlags ["{REDACTED}"] is what a read shows instead of them: give the flags themselves'
)


def _change_refusal(state: State, existing: Volume, given: Volume) -> Refusal | None:
    """Why the registered volume can't become what is given: all that stands against it."""
    against = _identity(existing, given)
    plugin = state.plugin(given.plugin_id)
    if plugin is not None and not against and plugin.provider != existing.provider:
        against.append(
            f"volume identity cannot be updated: {existing.id}: its provider was {quoted(existing.provider)} and is "
            f"{quoted(plugin.provider)}; deregister the volume first"
        )
    if existing.in_use:
        capabilities = modes_and_capabilities(given)[2]
        used = Capability(existing.access_mode, existing.attachment_mode)
        if used not in capabilities and capabilities != existing.requested_capabilities:
            against.append(
                "volume requested capabilities update was not compatible with existing capability in use "
                f"({used.access_mode} {used.attachment_mode})"
            )
        if _options(existing, given) != _some(existing.mount_options):
            against.append("can not update mount options while volume is in use")
    if _is_redacted(given.mount_options) and not _flags(existing.mount_options):
        against.append(_REDACTED_FLAGS)
    if existing.topologies and _asked(existing) != _asked(given):
        against.append("volume topology request update was not compatible with existing topology")
    current, high = given.capacity or existing.capacity, given.requested_capacity_max
    moved = (given.requested_capacity_min, high) != (existing.requested_capacity_min, existing.requested_capacity_max)
    if moved and 0 < high < current:
        against.append(f"max requested capacity ({size(high)}) less than or equal to current ({size(current)})")
    if not against:
        return None
    text = f"volume exists: {existing.id}: cannot be updated so: unable to update volume: {', '.join(against)}"
    return Refusal(409, f"{text}: claimed by {holders(state, existing)}" if existing.in_use else text)


def _identity(existing: Volume, given: Volume) -> list[str]:
    """What names or makes the storage: absent is as it was, but for the plugin."""
    texts = [
        f"volume {name} cannot be updated from {quoted(old)} to {quoted(new)}"
        for name, old, new in (
            ("name", existing.name, given.name),
            ("external ID", existing.external_id, given.external_id),
            ("clone ID", existing.clone_id, given.clone_id),
            ("snapshot ID", existing.snapshot_id, given.snapshot_id),
            ("plugin ID", existing.plugin_id, given.plugin_id),
        )
        if new and new != old
    ]
    if given.parameters and given.parameters != existing.parameters:
        texts.append("volume parameters cannot be updated")
    return texts


def _plain(volume: Volume) -> Volume:
    """The volume with only modes that CSI knows."""
    if volume.access_mode == READER_AS_INIT_WRITES:
        volume = replace(volume, access_mode=READER_ONLY)
    if not reads_as_init_writes(volume):
        return volume
    capabilities = tuple(
        replace(wanted, access_mode=READER_ONLY) if wanted.access_mode == READER_AS_INIT_WRITES else wanted
        for wanted in volume.requested_capabilities
    )
    return replace(volume, requested_capabilities=tuple(dict.fromkeys(capabilities)))


def reads_as_init_writes(volume: Volume) -> bool:
    """Whether it was given with a mode that is read as another one."""
    return volume.access_mode == READER_AS_INIT_WRITES or any(
        wanted.access_mode == READER_AS_INIT_WRITES for wanted in volume.requested_capabilities
    )


def _asked(volume: Volume) -> TopologyRequest | None:
    """Its request of topologies; one that asks for nothing is none."""
    request = volume.requested_topologies
    return request if request is not None and (request.required or request.preferred) else None


def _required(volume: Volume) -> tuple[Topology, ...]:
    return volume.requested_topologies.required if volume.requested_topologies is not None else ()


def _flags(options: MountOptions | None) -> tuple[str, ...]:
    return options.mount_flags if options is not None else ()


def _is_redacted(options: MountOptions | None) -> bool:
    return _flags(options) == (REDACTED,)


def _some(options: MountOptions | None) -> MountOptions | None:
    """The options; those that say nothing are none."""
    return options if options is not None and (options.fs_type or options.mount_flags) else None


def _options(existing: Volume, given: Volume) -> MountOptions | None:
    """What is given, with the flags that are there where those came as a read shows them."""
    options = _some(given.mount_options)
    if options is not None and _is_redacted(options):
        return replace(options, mount_flags=_flags(existing.mount_options))
    return options


def _merge_volumes(state: State, command: MergeVolumes) -> Refusal | None:
    refusal = check_merge(state, command)
    if refusal is not None:
        return refusal
    for given in command.volumes:
        volume, plugin = _plain(given), state.plugin(given.plugin_id)
        if plugin is None:
            raise ValueError("a volume is registered only with a plugin that is there")
        existing = state.volume(volume.namespace, volume.id)
        state.put_volume(
            _new(state, volume, plugin) if existing is None else _merged(state, existing, volume, plugin),
            None if existing is None else (),
        )
    return None


def _new(state: State, given: Volume, plugin: Plugin) -> DatedVolume:
    capabilities = modes_and_capabilities(given)[2]
    return DatedVolume(
        id=given.id,
        namespace=given.namespace,
        name=given.name,
        external_id=given.external_id,
        plugin_id=given.plugin_id,
        access_mode=capabilities[0].access_mode,
        attachment_mode=capabilities[0].attachment_mode,
        topologies=given.topologies or _required(given),
        mount_options=_some(given.mount_options),
        secrets=given.secrets or NOTHING,
        parameters=given.parameters or NOTHING,
        context=given.context or NOTHING,
        requested_capabilities=capabilities,
        requested_capacity_min=given.requested_capacity_min,
        requested_capacity_max=given.requested_capacity_max,
        capacity=given.capacity,
        clone_id=given.clone_id,
        snapshot_id=given.snapshot_id,
        requested_topologies=given.requested_topologies,
        provider=plugin.provider,
        provider_version=plugin.version,
        read_claims=NOTHING,
        write_claims=NOTHING,
        past_claims=NOTHING,
        create_index=state.index,
        modify_index=state.index,
        touch_index=state.index,
        create_time=state.stamp,
        modify_time=state.stamp,
    )


def _merged(state: State, existing: Volume, given: Volume, plugin: Plugin) -> DatedVolume:
    """What is there with what is given, which passed the rules."""
    capabilities = modes_and_capabilities(given)[2]
    used = Capability(existing.access_mode, existing.attachment_mode) if existing.in_use else capabilities[0]
    unmoved = given.requested_capacity_min == given.requested_capacity_max == 0
    bounds = existing if unmoved else given
    return DatedVolume(
        id=existing.id,
        namespace=existing.namespace,
        name=existing.name,
        external_id=existing.external_id,
        plugin_id=existing.plugin_id,
        access_mode=used.access_mode,
        attachment_mode=used.attachment_mode,
        # One that was registered when requests didn't count is given what it asked for then.
        topologies=existing.topologies or _required(existing),
        mount_options=_options(existing, given),
        secrets=given.secrets or NOTHING,
        parameters=existing.parameters,
        context=given.context or existing.context,
        requested_capabilities=capabilities,
        requested_capacity_min=bounds.requested_capacity_min,
        requested_capacity_max=bounds.requested_capacity_max,
        capacity=given.capacity or existing.capacity,
        clone_id=existing.clone_id,
        snapshot_id=existing.snapshot_id,
        requested_topologies=existing.requested_topologies,
        provider=existing.provider,
        provider_version=plugin.version,
        read_claims=existing.read_claims,
        write_claims=existing.write_claims,
        past_claims=existing.past_claims,
        create_index=existing.create_index,
        modify_index=state.index,
        touch_index=state.index,
        create_time=dates(existing)[0],
        modify_time=state.stamp,
    )


APPLIERS: dict[type, Callable[[State, Any], Refusal | None]] = {MergeVolumes: _merge_volumes}
