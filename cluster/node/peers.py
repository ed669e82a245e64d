"""The other members: whom the log names, which disks they have, who may connect, and who was removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from cluster.api import LogError, Member
from cluster.net import outsiders
from cluster.net.handshake import Identity
from cluster.net.outsiders import MOST_OUTSIDERS, Outsider, claimed, is_disk_of
from cluster.net.transport import Transport
from cluster.node.host import Host
from cluster.raft.engine import CONFIGURATION
from cluster.raft.membership import Configuration

OTHER_DISK = "comes with another disk than the one that this cluster knows"
"""In the reason of a refusal: a member that is refused so by peers with a later configuration stops."""

_COMES_WITHIN = 4
"""Election time-outs in which an outsider that was let in must be connected, both ways."""


class PeersHost(Host, Protocol):
    """`incarnation`: of this node's own disk."""

    transport: Transport
    incarnation: bytes

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do `work` after so many seconds; an exception in it ends the node."""
        ...

    def connection_lost(self, peer: str) -> None:
        """What was in flight to `peer` is lost."""
        ...

    def leader_reconnected(self) -> None:
        """The connection to the leader changed: what waits for an answer is sent again."""
        ...


class Peers:
    """`card` is what this node says of itself to whom it meets. `adopted` is the configuration that was followed last,
    `leaving` are those whose removal isn't known to be committed. `recognised`: see `Engine.recognised`."""

    def __init__(self, host: PeersHost) -> None:
        self.card = {**host.options.meta, "raft": host.options.advertise, "configuration": "0"}
        self.adopted: Configuration | None = None
        self.leaving: tuple[Member, ...] = ()
        self.recognised = False
        self._host = host
        self._incarnations: dict[str, bytes] = {}
        self._metas: dict[str, Mapping[str, str]] = {}
        self._connected_at: dict[str, float] = {}
        self._staying: dict[str, str] = {}
        """Names and addresses of members whose removal stands in this node's log and isn't committed."""
        self._outsiders: dict[str, Outsider] = {}
        self._vouched: dict[tuple[str, bytes], int] = {}
        """Names and disks that a member has vouched for, the latest last, with the index of its configuration."""
        self._claimants: set[str] = set()
        """Members' names under which others came with another disk, and with a later configuration."""
        self.inside: frozenset[str] = frozenset()
        """Names of peers that speak as the members that this node's latest configuration names."""

    # As the log says.

    def adopt(self, configuration: Configuration) -> None:
        """The log's latest configuration is another one than before."""
        host = self._host
        before, self.adopted = self.adopted, configuration
        leaving = (*self.leaving, *before.members) if before is not None and host.engine.leads else self.leaving
        # A removal that was lost with its leadership is none: its member is one as before.
        self.leaving = tuple(m for m in leaving if configuration.member(m.name) is None)
        self.card["configuration"] = str(configuration.index)
        self._staying.clear()
        for member in before.members if before is not None else ():
            if not is_disk_of(configuration.member(member.name), member.incarnation):
                # The next one to come under this name is another member.
                self._metas.pop(member.name, None)
                self._incarnations.pop(member.name, None)
        self._judge_outsiders_anew(configuration)
        self.leader_changed()  # the one that is followed may be a member now
        if configuration.members:
            self._set_peers()
        for member in configuration.members:
            self._keep_pinned(member.name)
        host.log.info(
            "configuration", index=configuration.index, voters=configuration.voters, learners=configuration.learners
        )

    def pin(self) -> None:
        """The first entry of a new cluster binds each first member to its disk; nothing is taken before it."""
        host = self._host
        known = self._incarnations | {host.options.name: host.incarnation}
        pinned = host.engine.configuration.pinned(known)
        host.engine.append(host.loop.time(), bytes([CONFIGURATION]) + pinned.encode())

    def part(self) -> None:
        """Once the removal of those that are leaving is committed: tell them, so that they stop, and let them go."""
        host, engine = self._host, self._host.engine
        if engine.commit_index >= engine.configuration.index:
            for member in self.leaving:
                host.send(member.name, ["gone", engine.term, engine.configuration.index])
            self.leaving = ()
            # The connection goes once what was queued on it has left.
            host.later(host.options.timing.election_max, self._forget)

    def _forget(self) -> None:
        if self._host.running and self._host.engine.configuration.members:
            self._set_peers()

    def _set_peers(self) -> None:
        host = self._host
        members = host.engine.configuration.members
        self.inside = frozenset(member.name for member in members if member.name not in self._outsiders)
        peers = self._staying | {member.name: member.address for member in (*members, *self.leaving)}
        peers |= {name: outsider.address for name, outsider in self._outsiders.items()}
        peers.pop(host.options.name, None)
        host.transport.set_peers(peers)

    def _keep_pinned(self, name: str) -> None:
        """A peer connected before its incarnation was in our log may have a different disk: recheck (hole 23)."""
        host = self._host
        member = host.engine.configuration.member(name)
        if name in self._outsiders:
            return  # It knows of a later configuration: this one says nothing of its disk.
        if member is not None and member.incarnation:
            host.transport.keep_only(name, member.incarnation)

    # What is known of them.

    def incarnation_of(self, name: str) -> bytes:
        """The disk that a member came with when it connected to this run of this node. LogError when it never did."""
        if name not in self._incarnations:
            raise LogError(f"{name!r} was not connected to this node yet")
        return self._incarnations[name]

    def connected_since(self, name: str) -> float:
        """When (loop time) this member, which is connected, came."""
        return self._connected_at[name]

    def last_meta(self, name: str) -> Mapping[str, str]:
        """What a member said of itself when it last connected to this run of this node; empty if it never did."""
        return self._metas.get(name, {})

    # What the transport asks and tells.

    def admit(self, name: str, incarnation: bytes, meta: Mapping[str, str]) -> str | None:
        """Why one that calls, or answers, under this name isn't let in; None if it is.

        As the member that the log names (hole 23), or from outside, as `outsiders.py` has it.
        """
        engine = self._host.engine
        configuration = engine.configuration
        member = configuration.member(name)
        # One whose removal isn't committed may have been elected without it, and undo it (Raft dissertation §4.1).
        staying = member or engine.configurations.at(engine.commit_index).member(name)
        if staying is not None and self._is_its_disk(staying, incarnation):
            self._let_in(name, incarnation, meta)
            if member is None:
                self._staying[name] = staying.address
                self._set_peers()
            return None
        if claimed(meta) > configuration.index:
            return self._admit_outsider(name, incarnation, meta)
        if staying is not None:
            return f"{name!r} {OTHER_DISK} (was it wiped?): remove the old {name!r} first, then add it anew"
        return f"{name!r} is not a member of this cluster"

    def _is_its_disk(self, member: Member, incarnation: bytes) -> bool:
        known = member.incarnation or self._incarnations.get(member.name, b"")
        return known in (b"", incarnation)

    def _let_in(self, name: str, incarnation: bytes, meta: Mapping[str, str]) -> None:
        self._incarnations[name] = incarnation
        self._metas[name] = meta
        if self._outsiders.pop(name, None) is not None:
            # Not one word more of it may pass for the member's.
            self._host.transport.keep_only(name, incarnation)
            self._set_peers()

    def _admit_outsider(self, name: str, incarnation: bytes, meta: Mapping[str, str]) -> str | None:
        host = self._host
        # No reason may read as OTHER_DISK: it would end a member of an older version, which may well be in the right.
        if (name, incarnation) in host.engine.configuration.removed:
            return f"{name!r} was removed from this cluster: empty its data directory, and add it anew"
        if not self._has_no_leader() and name not in self._outsiders:
            return f"{name!r} is none of the members that this node knows, which has a leader among them"
        there = host.transport.peer_info(name)
        if there is not None and there.incarnation != incarnation:
            return f"another {name!r} is connected to this node"
        outsider = outsiders.read_outsider(incarnation, meta)
        if isinstance(outsider, str):
            return outsider
        if name not in self._outsiders and len(self._outsiders) >= MOST_OUTSIDERS:
            return f"{MOST_OUTSIDERS} that this node doesn't know are connected already"
        if name not in self._outsiders and not self._is_vouched_for(name, incarnation):
            for peer in sorted((self.inside | self._outsiders.keys()) & host.transport.connected()):
                host.send(peer, ["known?", name, incarnation])
            return (
                f"{name!r} is none of the members that this node knows, and none of these has vouched for it so far "
                "(are all of them gone? Then remove this node, empty its data directory, and add it anew)"
            )
        self._outsiders[name] = outsider
        host.transport.keep_only(name, incarnation)
        self._set_peers()
        self._expect(name)
        return None

    def _expect(self, name: str) -> None:
        """An outsider that isn't connected must not keep the place, and the address, of a member of its name."""
        host, outsider = self._host, self._outsiders[name]

        def let_go() -> None:
            if self._outsiders.get(name) is outsider and name not in host.transport.connected() and host.running:
                del self._outsiders[name]
                self._set_peers()

        host.later(_COMES_WITHIN * host.options.timing.election_max, let_go)

    def _is_vouched_for(self, name: str, incarnation: bytes) -> bool:
        """By a member; or, where all were replaced, by a majority of their names, which certificates prove. One that
        waits to be added knows nobody who could vouch.
        """
        configuration = self._host.engine.configuration
        if not configuration.members or (name, incarnation) in self._vouched:
            return True
        if name not in configuration.voters:
            return False
        self._claimants.add(name)
        return len(self._claimants) > len(configuration.voters) // 2

    def asked_about(self, peer: str, name: str, incarnation: bytes) -> None:
        """A member that lags asks whether its caller is a member: the answer is yes, or none."""
        configuration = self._host.engine.configuration
        member = configuration.member(name)
        if member is not None and member.incarnation == incarnation:
            self._host.send(peer, ["known", configuration.index, name, incarnation])

    def told_of(self, index: int, name: str, incarnation: bytes) -> None:
        """A member says that configuration `index` names this disk: let it in when it calls again."""
        if index > self._host.engine.configuration.index:
            self._vouched.pop((name, incarnation), None)
            self._vouched[name, incarnation] = index
            while len(self._vouched) > MOST_OUTSIDERS:
                del self._vouched[next(iter(self._vouched))]

    def _has_no_leader(self) -> bool:
        """For as long as this node would wait itself before it stood for election; a start counts as hearing one."""
        host, engine = self._host, self._host.engine
        if engine.leader is not None or engine.leads:
            return False
        if not engine.configuration.members:
            return True  # It waits to be added, and has no members that it could hear.
        return host.loop.time() >= engine.last_contact + host.options.timing.election_max

    def _judge_outsiders_anew(self, configuration: Configuration) -> None:
        """Outsiders that the new configuration names are members now; those without a later one are dropped."""
        self._vouched = {who: index for who, index in self._vouched.items() if index > configuration.index}
        self._claimants.clear()
        for name, outsider in list(self._outsiders.items()):
            if is_disk_of(configuration.member(name), outsider.incarnation):
                del self._outsiders[name]
                self._incarnations[name] = outsider.incarnation
                self._metas[name] = outsider.meta
            elif outsider.configuration <= configuration.index:
                del self._outsiders[name]

    def leader_changed(self) -> None:
        """Once a member leads, nothing is to be had from outside."""
        engine = self._host.engine
        if self._outsiders and engine.leader is not None and engine.leader not in self._outsiders:
            self._outsiders.clear()
            self._set_peers()
            for member in engine.configuration.members:
                self._keep_pinned(member.name)

    def listens(self, peer: str, kind: str) -> bool:
        """Whether a message of this kind is taken from `peer`."""
        if peer in self.inside:
            return True
        engine = self._host.engine
        if peer in self._outsiders:
            follows = peer == engine.leader
            return (kind in outsiders.HEARD and (follows or self._has_no_leader())) or (
                kind in outsiders.ANSWERS and follows
            )
        # Its removal isn't committed: it is a member as before.
        return engine.configurations.at(engine.commit_index).member(peer) is not None

    def believes_removal(self, peer: str, term: int, index: int) -> bool:
        """Whether `peer` may say that configuration `index` is without this node, so that it must end."""
        host, engine = self._host, self._host.engine
        return term >= engine.term and outsiders.removal_counts(
            (host.options.name, host.incarnation),
            engine.configuration,
            peer if peer in self.inside else "",
            index,
            follows=peer == engine.leader,
            rival=term == engine.term and engine.leader not in (peer, None),
        )

    def on_peer(self, peer: str, connected: bool) -> None:
        host = self._host
        host.log.info("peer_connected" if connected else "peer_lost", peer=peer)
        self._connected_at[peer] = host.loop.time()
        if (
            peer in self.inside
            and (info := host.transport.peer_info(peer)) is not None
            and info.meta.get("configuration", "0") != "0"
        ):
            self.recognised = host.engine.recognised = True
        if connected:
            self._keep_pinned(peer)
        else:
            host.connection_lost(peer)
            if peer in self._outsiders:
                self._expect(peer)
        if peer == host.engine.leader:
            host.leader_reconnected()
        host.step(lambda: host.engine.peers_changed(host.loop.time(), host.transport.connected()))

    def on_refused(self, peer: str, reason: str, refuser: Identity | None) -> None:
        """`refuser` is what it said of itself before it refused this node's call."""
        host = self._host
        if OTHER_DISK not in reason or refuser is None:
            return
        configuration = host.engine.configuration
        member = configuration.member(peer)
        known = (member.incarnation if member is not None else b"") or self._incarnations.get(peer, b"")
        if outsiders.refusal_counts(
            (host.options.name, host.incarnation),
            configuration,
            (peer, refuser.incarnation),
            claimed(refuser.meta),
            known=known,
            accepted=host.transport.connected() & self.inside,
        ):
            host.fail(LogError(f"{peer} refuses this node: {reason}"))
