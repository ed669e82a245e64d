"""What a member knows of itself and of the others, for people and for the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.api import Member, MemberStatus, Role, Status

if TYPE_CHECKING:
    from cluster.node.node import Node


def describe(node: Node) -> Status:
    engine, journal = node.engine, node.journal
    return Status(
        cluster_id=node.options.cluster_id,
        name=node.options.name,
        role=engine.role,
        term=engine.term,
        leader=engine.leader,
        first_index=journal.base_index + 1,
        last_index=journal.last_index,
        durable_index=journal.durable_index,
        commit_index=max(engine.commit_index, node.applier.index),
        applied_index=node.applier.index,
        snapshot_index=node.compaction.snapshot_index,
        last_contact=node.last_contact(),
        members=tuple(_member(node, member) for member in engine.configuration.members),
        fault=node.persistence.fault,
        last_sync_seconds=journal.last_sync_seconds,
    )


def _member(node: Node, member: Member) -> MemberStatus:
    engine = node.engine
    if member.name == node.options.name:
        meta = dict(node.options.meta)
        known = Member(member.name, member.address, member.incarnation, member.voter, meta)
        leads = engine.role is Role.LEADER
        return MemberStatus(
            known,
            True,
            node.journal.last_index if leads else None,
            0 if leads else None,
            0.0 if leads else None,
            last_meta=meta,
        )
    info = node.transport.peer_info(member.name)
    known = Member(member.name, member.address, member.incarnation, member.voter, info.meta if info else {})
    connected = member.name in engine.connected
    last_meta = known.meta or node.peers.last_meta(member.name)
    if not engine.leads or (progress := engine.progress.get(member.name)) is None:
        return MemberStatus(known, connected, last_meta=last_meta)
    match = engine.match_index(member.name)
    return MemberStatus(
        known,
        connected,
        match_index=match,
        lag=node.journal.last_index - match,
        last_contact=node.loop.time() - progress.contact,
        snapshot_progress=node.compaction.progress_of(member.name),
        last_meta=last_meta,
    )
