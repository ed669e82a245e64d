"""What must hold at every moment, checked after every step of every node: Raft's invariants and our own promises."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zlib import crc32

from cluster.api import Applied, NotApplied, Outcome
from cluster.net.outsiders import ANSWERS, HEARD, claimed, is_disk_of
from cluster.raft.engine import CONFIGURATION
from cluster.raft.leadership import WINDOW
from cluster.raft.membership import Configuration
from tests.simulation.ages import Ages
from tests.simulation.holes import apply_again
from tests.simulation.majorities import Majorities
from tests.simulation.slow import Copies

if TYPE_CHECKING:
    from cluster.node.node import Node
    from cluster.raft.messages import Frame
    from tests.simulation.server import Server
    from tests.simulation.world import World

_EPSILON = 1e-6


@dataclass(slots=True)
class Seen:
    """What was checked of one run of one node already."""

    fingerprint: tuple[Any, ...] = ()
    checked: int = 0
    checked_term: int = 0
    committed: int = 0
    stepped_down: float | None = None
    led: bool = False
    led_since: float = 0.0
    configuration: Configuration | None = None
    matches: dict[str, tuple[int, bytes, int]] = field(default_factory=dict)
    """Of each member: the term, its disk, and what the leader knew to be on it."""


class Observer:
    """Knows what all nodes did. Calls `world.violated` at the first thing that may not be."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._leaders: dict[int, str] = {}
        self._entries: dict[tuple[int, int], tuple[int, int]] = {}
        """(index, term) → (checksum of the data, term before), of every entry that ever stood in a log."""
        self.committed: dict[int, tuple[int, int]] = {}
        self.newest: Configuration | None = None
        """The newest configuration that was ever committed."""
        self.ages = Ages(world)
        self.copies = Copies(world)
        self.majorities = Majorities(world)
        self.canonical: dict[bytes, tuple[int, bytes]] = {}
        self._applied_by_index: dict[int, list[tuple[bytes, bytes]]] = {}
        self._digests: dict[int, tuple[bytes, str]] = {}
        self._refused: set[bytes] = set()
        self.acknowledged = 0
        self._heard: dict[tuple[str, str], float] = {}
        self._seen: dict[str, Seen] = {}

    # Attached to a node before it starts.

    def attach(self, server: Server) -> None:
        node = server.node
        assert node is not None
        self._seen[server.name] = Seen()
        self.ages.started(server)
        self._watch_applying(server, node)
        take, send = node._take, node.send

        def taken(peer: str, frame: Frame) -> None:
            if frame[0] == "app":
                self._heard[peer, server.name] = self._world.scheduler.now
            self._check_disk(server, node, peer, frame)
            self._check_word(server, node, peer, frame)
            late = frame[0] == "ack" and frame[1] < node.engine.term
            before = _standing(node, peer) if late else None
            kept = node.journal.last_index if frame[0] == "app" and _matches(node, frame) else 0
            take(peer, frame)
            if frame[0] in ("app", "commit"):
                self.ages.taken(server, node, peer, frame)
            if node.journal.last_index < kept:
                self._violated("what matches stays", f"{server.name} drops entries that {peer} sent it once more")
            if late and _standing(node, peer) != before:
                self._violated("acks of this term", f"{server.name} counts what {peer} said in term {frame[1]}")
            if frame[0] == "ack" and node.engine.leads:
                self._check_progress(server, node, peer)

        def sent(peer: str, frame: Frame) -> bool:
            self.majorities.sent(server, peer, frame)
            if frame[0] == "vote?":
                self._check_candidacy(server, frame)
            if frame[0] in ("app", "commit"):
                self.ages.sent(server.name, peer, frame)
            if frame[0] == "app":
                self._check_window(server, node, peer)
            if frame[0] == "snapack" and frame[4] and node.applier.index < frame[2]:
                self._violated("installed is installed", f"{server.name} lacks the snapshot of {frame[2]}")
            return send(peer, frame)

        setattr(node, "_take", taken)  # noqa: B010 (a method is replaced)
        setattr(node, "send", sent)  # noqa: B010 (as above)

    def _watch_applying(self, server: Server, node: Node) -> None:
        state, machine = node.state, node.state.machine
        apply_entry, apply_command = state.apply, machine.apply
        applying: list[tuple[bytes, bytes]] = []
        last = 0

        def command_applied(command: bytes) -> bytes:
            judge = self._world.clocks.applying(server, command) if self._world.settings.registry else None
            result = apply_command(command)
            if judge is not None:
                judge(result)
            applying.append((command, result))
            return result

        def entry_applied(log_index: int, batch: bytes) -> Any:
            nonlocal last
            if log_index <= last:
                self._violated("applied in order", f"{server.name} applies entry {log_index} after {last}")
            applying.clear()
            answers = apply_entry(log_index, batch)
            last = log_index
            self._entry_applied(server, log_index, list(applying), state.digest())
            return answers

        setattr(machine, "apply", command_applied)  # noqa: B010 (as above)
        setattr(state, "apply", entry_applied)  # noqa: B010 (as above)

    def _entry_applied(self, server: Server, index: int, done: list[tuple[bytes, bytes]], digest: bytes) -> None:
        known = self._applied_by_index.get(index)
        if known is None:
            self._applied_by_index[index] = done
            for command, result in done:
                if command in self.canonical:
                    self._violated(
                        "exactly once",
                        f"a command of entry {self.canonical[command][0]} is applied again as entry {index}",
                    )
                if command in self._refused:
                    self._violated("honest answers", f"entry {index} applies what was reported as not applied")
                self.canonical[command] = (index, result)
        elif known != done:
            self._violated("same results", f"entry {index} is applied otherwise on {server.name}")
        first = self._digests.setdefault(index, (digest, server.name))
        if first[0] != digest:
            self._violated("same state", f"after entry {index}, {server.name} differs from {first[1]}")

    # After every step.

    def look(self, server: Server) -> None:
        node = server.node
        engine = node.__dict__.get("engine") if node is not None else None
        if engine is None or node is None or server.loop is None or server.loop.dead:
            return
        self._check_outsiders(server, node)
        seen, journal = self._seen[server.name], node.journal
        fingerprint = (journal.changes, engine.commit_index, engine.raft.role, engine.term, journal.last_index)
        if fingerprint == seen.fingerprint:
            return
        if not seen.fingerprint:
            self.majorities.reads(server, node)
        seen.fingerprint = fingerprint
        if node.applier.index < journal.base_index:
            self._violated(
                "state reaches the log",
                f"{server.name} has the state of entry {node.applier.index} and the log after {journal.base_index}",
            )
        if engine.leads != seen.led:
            seen.led = engine.leads
            if seen.led:
                self._world.trace.note(server.name, "LEADS", term=engine.term)
                first = self._leaders.setdefault(engine.term, server.name)
                if first != server.name:
                    self._violated("one leader a term", f"{first} and {server.name} both lead term {engine.term}")
                self.majorities.check_election(server, node)
                seen.matches.clear()
                seen.led_since = self._world.scheduler.now
            else:
                seen.stepped_down = server.loop.time()
        if engine.configuration is not seen.configuration:
            if engine.leads and seen.configuration is not None:
                self._check_new_voters(server, node, seen.configuration.voters)
            seen.configuration = engine.configuration
        self._check_log(server, node, seen)
        self._check_commits(server, node, seen)

    def _check_log(self, server: Server, node: Node, seen: Seen) -> None:
        """Log Matching (Raft §5.3), by induction: the same index and term mean the same data and predecessor."""
        journal = node.journal
        base, last = journal.base_index, journal.last_index
        start = seen.checked + 1
        if not base <= seen.checked <= last or journal.term_at(seen.checked) != seen.checked_term:
            start = base + 1
        for index in range(start, last + 1):
            entry = journal.entry(index)
            before = journal.term_at(index - 1) or 0
            value = (crc32(entry.data), before)
            known = self._entries.setdefault((index, entry.term), value)
            if known != value:
                self._violated("log matching", f"entry {index} of term {entry.term} differs on {server.name}")
        seen.checked, seen.checked_term = last, journal.term_at(last) or 0

    def _check_commits(self, server: Server, node: Node, seen: Seen) -> None:
        journal, engine = node.journal, node.engine
        commit = min(engine.commit_index, journal.last_index)
        if engine.commit_index > seen.committed:
            for index in range(max(seen.committed, journal.base_index) + 1, commit + 1):
                entry = journal.entry(index)
                value = (entry.term, crc32(entry.data))
                known = self.committed.get(index)
                if known is None:
                    self.committed[index] = value
                    if entry.data[0] == CONFIGURATION:
                        self.newest = Configuration.decode(entry.data[1:], index)
                    self.ages.committed(index)
                    if self._world.settings.hole is not apply_again:  # which shows itself in what is applied
                        self.copies.committed(index, entry.data)
                    if engine.leads:
                        self.majorities.check_commit(node, index, entry.term)
                elif known != value:
                    self._violated(
                        "committed stays",
                        f"entry {index} was committed in term {known[0]}; {server.name} commits one of {entry.term}",
                    )
            seen.committed = max(seen.committed, commit)

    def _check_new_voters(self, server: Server, node: Node, before: tuple[str, ...]) -> None:
        """Who gets a vote is there, and has a part of the log at least."""
        for name in node.engine.configuration.voters:
            if name not in before and name != server.name and node.engine.match_index(name) == 0:
                self._violated("learners first", f"{server.name} gives {name} a vote, which has confirmed nothing yet")

    def _check_disk(self, server: Server, node: Node, peer: str, frame: Frame) -> None:
        """A disk that was replaced doesn't speak in the name of the one that the configuration names. One that knows of
        a later configuration may be the one that took its place."""
        member, info = node.engine.configuration.member(peer), node.transport.peer_info(peer)
        if member is None or info is None or not member.incarnation or info.incarnation == member.incarnation:
            return
        if frame[0] in HEARD | ANSWERS and claimed(info.meta) > node.engine.configuration.index:
            return
        self._violated("a wiped disk is another", f"{server.name} listens to {peer}, whose disk was replaced")

    def _check_word(self, server: Server, node: Node, peer: str, frame: Frame) -> None:
        """What only a member may say is taken from members alone: as this node's log names them, or as is committed."""
        pair = node.transport._pairs._pairs.get(peer)
        link = pair.incoming if pair is not None else None
        if link is None:
            return
        disk, engine = link.card.identity.incarnation, node.engine
        named = [engine.configuration.member(peer), engine.configurations.at(engine.commit_index).member(peer)]
        strange = disk in self._world.strangers
        if any(is_disk_of(member, disk) for member in named) and not strange:
            return
        if strange or frame[0] not in HEARD | ANSWERS:
            self._violated("a stranger's word", f"{server.name} takes {frame[0]!r} from {peer}, which is no member")

    def _check_outsiders(self, server: Server, node: Node) -> None:
        """Beside a leader that is a member, nobody from outside is connected."""
        engine, outside = node.engine, node.peers._outsiders
        if outside and node.running and (engine.leads or engine.leader in node.peers.inside):
            self._violated("nobody from outside", f"{server.name}, led by {engine.leader}, lets in {sorted(outside)}")

    def _check_progress(self, server: Server, node: Node, peer: str) -> None:
        progress = node.engine.progress.get(peer)
        if progress is None or server.loop is None:
            return
        match, seen = node.engine.match_index(peer), self._seen[server.name]
        if progress.next <= match:
            self._violated("never back", f"{server.name} would send {peer} entry {progress.next} after match {match}")
        member = node.engine.configuration.member(peer)
        disk = member.incarnation if member is not None else b""
        *then, before = seen.matches.get(peer, (0, b"", 0))
        if then == [node.engine.term, disk] and match < before:
            self._violated("never back", f"{server.name}'s match of {peer} goes from {before} back to {match}")
        seen.matches[peer] = (node.engine.term, disk, match)
        heard = max(self._heard.get((server.name, peer), 0.0), seen.led_since)
        # A clock that stood still, as a paused virtual machine's does, can't tell when anything was.
        if not server.loop.was_frozen and server.loop.true_time(progress.contact) > heard + _EPSILON:
            self._violated(
                "contact is proven",
                f"{server.name} believes it was heard by {peer} at {server.loop.true_time(progress.contact):.4f}, "
                f"which last heard it at {heard:.4f}",
            )

    def _check_window(self, server: Server, node: Node, peer: str) -> None:
        progress = node.engine.progress.get(peer)
        if progress is not None and len(progress.unacknowledged) > WINDOW:
            self._violated("bounded", f"{server.name} has {len(progress.unacknowledged)} messages under way to {peer}")

    def _check_candidacy(self, server: Server, frame: Frame) -> None:
        """Who steps down waits for an election time-out before it stands again, unless it is asked to."""
        seen = self._seen[server.name]
        if seen.stepped_down is None or server.loop is None or frame[5]:
            return
        waited = server.loop.time() - seen.stepped_down
        if waited < self._world.timing.election_min - _EPSILON:
            self._violated("fresh time-out", f"{server.name} asks for votes {waited:.4f} s after it stepped down")

    # What clients were told.

    def answered(self, command: bytes, outcome: Outcome) -> None:
        known = self.canonical.get(command)
        if isinstance(outcome, NotApplied):
            if known is not None:
                self._violated("honest answers", f"entry {known[0]} was applied and is reported as not applied")
            self._refused.add(command)
        elif isinstance(outcome, Applied):
            self.acknowledged += 1
            if known is None:
                self._violated("honest answers", f"entry {outcome.log_index} is acknowledged and applied nowhere")
            elif known != (outcome.log_index, outcome.result):
                self._violated("first outcome", f"entry {known[0]} is acknowledged as {outcome}")

    def _violated(self, invariant: str, text: str) -> None:
        self._world.violated(invariant, text)


def _matches(node: Node, frame: Frame) -> bool:
    """Whether the log holds all that an append_entries shows."""
    previous, previous_term, entries = frame[3], frame[4], frame[6]
    term_at = node.journal.term_at
    return term_at(previous) == previous_term and all(
        term_at(previous + 1 + position) == entry[0] for position, entry in enumerate(entries)
    )


def _standing(node: Node, peer: str) -> tuple[float, ...] | None:
    """What a leader believes of a member."""
    progress = node.engine.progress.get(peer)
    if progress is None or not node.engine.leads:
        return None
    return (progress.next, progress.round, progress.contact, node.engine.match_index(peer))
