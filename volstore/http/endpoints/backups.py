"""`/v1/operator/snapshot`: a backup of the whole state as one file, and the way back into a cluster that runs."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from hashlib import sha256

import structlog

from volstore.backup import archive as backup
from volstore.backup.archive import BackupMeta, BadBackup
from volstore.backup.sealed import BackupKeys
from volstore.core.acl.check import Rights
from volstore.core.acl.rights import SNAPSHOT_SAVE
from volstore.core.commands import (
    RESTORE_PIECE_BYTES,
    AbandonRestore,
    AdoptRestore,
    BeginRestore,
    Command,
    Outcome,
    RestorePiece,
)
from volstore.core.errors import ApiError
from volstore.core.state import State
from volstore.http.cluster_admin import ClusterAdmin
from volstore.http.json.replies import Reply
from volstore.http.server.authorize import authorize
from volstore.http.server.call import Call
from volstore.http.server.declaration import Operation
from volstore.http.server.rights import management

LARGEST_BACKUP = 1 << 30
"""Bytes of a backup's file that are taken."""
STEP_DEADLINE = 60.0
"""Seconds that each step of a restore may take; a change of leaders fits in many times over."""

_log = structlog.get_logger("volstore.http")


def _may_save(call: Call, state: State, rights: Rights) -> bool:
    """A backup shows every secret, and a restore makes any token: it is management's."""
    return rights.acl.allows_operator(SNAPSHOT_SAVE)


def backup_endpoints(admin: ClusterAdmin, keys: BackupKeys) -> tuple[Operation, Operation]:
    """GET and PUT. `keys` seal what is saved, if there are any, and open what is restored."""
    restoring = asyncio.Lock()

    async def save(call: Call) -> Reply:
        registry = call.service.registry
        deadline = asyncio.get_running_loop().time() + call.service.settings.deadline
        contact = await registry.barrier(stale=call.query.stale, deadline=deadline)
        authorize(call, endpoints[0], registry.state)  # once more: it shows everything, and the token may be gone now
        state, node = registry.state, admin.node()
        captured, index, now = state.capture(), state.index, datetime.now(UTC)

        def packed() -> tuple[bytes, str]:
            chunks = list(captured.chunks())
            meta = BackupMeta(
                id=f"{node.term}-{index}-{int(now.timestamp() * 1000)}",
                index=index,
                term=node.term,
                size=sum(map(len, chunks)),
                cluster_id=node.cluster_id,
                time=now.isoformat(timespec="seconds").replace("+00:00", "Z"),
                build=node.version,
            )
            if keys.seals:
                meta, sealed = keys.seal(meta, chunks)
                chunks = [sealed]
            content = backup.pack(meta, chunks)
            return content, backup.digest_header(content)

        content, digest = await asyncio.to_thread(packed)
        _log.info("backup_made", index=index, bytes=len(content), sealed=keys.seals)
        headers = {
            "Content-Type": "application/gzip",
            "Digest": digest,
            "X-Nomad-Index": str(max(index, 1)),
            "X-Nomad-KnownLeader": "true" if contact.known_leader else "false",
            "X-Nomad-LastContact": str(contact.last_contact),
        }
        return Reply(content=content, headers=headers)

    async def restore(call: Call) -> Reply:
        if restoring.locked():
            raise ApiError(409, "a restore is under way through this node: wait for its end")
        async with restoring:
            return await _restore(call, keys)

    endpoints = (
        Operation(
            name="saveSnapshot",
            need=_may_save,
            summary="A backup of the state",
            parameters=("stale",),
            statuses=(503,),
            reply=save,
        ),
        Operation(
            name="restoreSnapshot",
            need=management,
            summary="Put a backup in the place of the state",
            largest_body=LARGEST_BACKUP,
            statuses=(409, 503),
            reply=restore,
        ),
    )
    return endpoints


async def _restore(call: Call, keys: BackupKeys) -> Reply:
    try:
        meta, data = await asyncio.to_thread(_checked, call.body, keys)
    except BadBackup as error:
        raise ApiError(400, f"validation: {error}") from None
    id = os.urandom(8).hex()
    _log.info("restore_begins", restore=id, backup=meta.id, index=meta.index, bytes=len(data))
    digest = await asyncio.to_thread(lambda: sha256(data).digest())
    try:
        await _done(call, BeginRestore(id, len(data), digest))
        for number, start in enumerate(range(0, len(data), RESTORE_PIECE_BYTES), 1):
            await _done(call, RestorePiece(id, number, data[start : start + RESTORE_PIECE_BYTES]))
        outcome = await _done(call, AdoptRestore(id))
    except ApiError as error:
        # Pieces that can't be dropped now are dropped by the next restore, or after an hour.
        _log.warning("restore_failed", restore=id, reason=error.text)
        if error.status != 503:
            await _submit(call, AbandonRestore(id))
        raise
    _log.info("restored", restore=id, backup=meta.id, index=outcome.index)
    return Reply(headers={"X-Nomad-Index": str(outcome.index)})


def _checked(packed: bytes, keys: BackupKeys) -> tuple[BackupMeta, bytes]:
    """What it says, and its state in the clear, which can be read: what can't must not travel through the log first.

    Raises BadBackup.
    """
    meta, state = backup.unpack(packed)
    data = keys.opened(meta, state)
    try:
        State.restored([data])
    except ValueError as error:
        raise BadBackup(str(error)) from None
    return meta, data


async def _done(call: Call, command: Command) -> Outcome:
    outcome = await _submit(call, command)
    if outcome.status != 200:
        raise ApiError(outcome.status, outcome.text)
    return outcome


async def _submit(call: Call, command: Command) -> Outcome:
    registry = call.service.registry
    deadline = asyncio.get_running_loop().time() + STEP_DEADLINE
    return await registry.submit(command, deadline, caller=call.caller.identity(registry.state))
