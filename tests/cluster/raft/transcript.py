"""Transcripts: conversations of engines as text, with what each command brought about below it.

A transcript is a sequence of blocks with an empty line between them. A block is a command, "----", and the expected
output; lines that begin with "#" say why. The output of a command is each message that was delivered, with its
fields by name (`messages.KINDS`), and each member whose role, term, leader or commit index changed.

    cluster a b c        engines with empty logs, all connected
    elect a              have it win an election and bind the members to their disks, without a word
    campaign a           let its election time-out end now
    time 0.6 [a b]       let so many seconds pass (for all, or these), messages included, without a word about them
    deliver [N] [to a]   deliver what waits, N times (once); to one member alone, the rest goes on waiting
    settle               deliver until nobody has anything to say
    cut a b / heal       lose all messages between two members / lose none
    lose                 lose what is in flight now
    say a b KIND FIELDS  have b receive this message of a now, as it may come late or from another life
    propose a x y        append entries as the leader, each in a message of its own
    read a               ask for a linearizable read's index
    transfer a b         hand leadership over
    compact a 5          a snapshot covers the log up to entry 5
    install a b          bring b the snapshot of a, as `cluster.node.snapshotting` does
    learner a d          d starts, and a adds it as a learner / `voter a d` gives it its vote / `remove a d`
    status               each member's role, term, vote, commit index and log
    progress a           what the leader knows of its members
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from cluster.api import Member
from cluster.raft import messages
from cluster.raft.engine import BATCH, CONFIGURATION, NO_OP, Engine, Message
from cluster.raft.membership import Configuration, Configurations
from cluster.raft.storage import LogStorage
from tests.cluster.raft.engines import Conversation, entry

_MOST_ROUNDS = 20
_WORDS = {True: "yes", False: "no", None: "-"}
Standing = tuple[str, int, str | None, int]


class Transcript:
    """Carries out commands in order. Raises ValueError for one that it doesn't know."""

    def __init__(self) -> None:
        self._talk = Conversation("")
        self._lines: list[str] = []
        self._commands: dict[str, Callable[..., Awaitable[None] | None]] = {
            "cluster": self._cluster,
            "elect": self._elect,
            "campaign": lambda name: self._talk[name].campaign_now(self._talk.now),
            "time": self._time,
            "deliver": self._deliver,
            "settle": self._settle,
            "cut": lambda one, other: self._talk.cut.update({(one, other), (other, one)}),
            "heal": lambda: self._talk.cut.clear(),
            "lose": self._lose,
            "say": self._say,
            "propose": self._propose,
            "read": self._read,
            "transfer": lambda name, to: self._talk[name].transfer(self._talk.now, to),
            "compact": self._compact,
            "install": self._install,
            "learner": self._learner,
            "voter": lambda name, who: self._change(name, lambda one: one.with_voter(who, who.encode() * 8)),
            "remove": lambda name, who: self._change(name, lambda one: one.without(who)),
            "status": self._status,
            "progress": self._progress,
        }

    async def do(self, command: str) -> str:
        """What the command brought about, a line an event."""
        name, *arguments = command.split()
        if name not in self._commands:
            raise ValueError(f"no command of a transcript: {command!r}")
        self._lines = []
        before = self._standings() if name != "cluster" else {}
        done = self._commands[name](*arguments)
        if done is not None:
            await done
        for member, standing in self._standings().items():
            if member in before and before[member] != standing:
                role, term, leader, commit = standing
                self._lines.append(f"{member}: {role}, term {term}, leader {leader or 'none'}, commit {commit}")
        return "\n".join(self._lines) or "ok"

    def _standings(self) -> dict[str, Standing]:
        return {
            name: (one.role.value, one.term, one.leader, one.commit_index) for name, one in self._talk.engines.items()
        }

    # Beginnings.

    def _cluster(self, *names: str) -> None:
        self._talk = Conversation("".join(names))
        self._talk.on_message = self._on_message

    async def _elect(self, name: str) -> None:
        self._talk.on_message = lambda *_: None
        await self._talk.elect(name)
        await self._talk.deliver(2)
        self._talk.on_message = self._on_message

    async def _time(self, seconds: str, *names: str) -> None:
        self._talk.on_message = lambda *_: None
        await self._talk.pass_time(float(seconds), names="".join(names) or None)
        self._talk.on_message = self._on_message

    # Messages.

    async def _deliver(self, *arguments: str) -> None:
        rounds = int(arguments[0]) if arguments and arguments[0].isdecimal() else 1
        only = arguments[-1] if "to" in arguments else None
        await self._talk.deliver(rounds, only=only)

    async def _settle(self) -> None:
        for _ in range(_MOST_ROUNDS):
            await self._talk.sync()
            self._talk.collect()
            if not self._talk.queue:
                return
            await self._talk.deliver()
        raise AssertionError(f"after {_MOST_ROUNDS} rounds they still talk")

    async def _lose(self) -> None:
        await self._talk.sync()
        self._talk.collect()
        for sender, message in self._talk.queue:
            self._on_message(sender, message, arrives=False)
        self._talk.queue.clear()

    def _say(self, sender: str, receiver: str, kind: str, *given: str) -> None:
        values = dict(field.split("=") for field in given)
        assert tuple(values) == messages.KINDS[kind].fields, f"the fields are {messages.KINDS[kind].fields}"
        self._talk[receiver].receive(self._talk.now, sender, [kind, *map(_value, values.values())])

    def _on_message(self, sender: str, message: Message, arrives: bool) -> None:
        kind, *values = message.frame
        fields = messages.KINDS[kind].fields
        text = " ".join(f"{field}={_text(field, value)}" for field, value in zip(fields, values, strict=True))
        self._lines.append(f"{sender} -> {message.peer}  {kind} {text}{'' if arrives else '  (lost)'}")

    # What a leader is asked.

    def _propose(self, name: str, *texts: str) -> None:
        for text in texts:
            self._talk[name].append(self._talk.now, entry(text))

    def _read(self, name: str) -> None:
        def answer(index: int | None) -> None:
            self._lines.append(f"{name}: a read is answered with {'no index' if index is None else f'index {index}'}")

        self._talk[name].read(self._talk.now, answer)

    def _learner(self, name: str, joins: str) -> None:
        self._talk.join(joins)
        self._change(name, lambda one: one.with_learner(Member(joins, f"{joins}:1")))

    def _change(self, name: str, make: Callable[[Configuration], Configuration]) -> None:
        leader = self._talk[name]
        leader.append(self._talk.now, bytes([CONFIGURATION]) + make(leader.configuration).encode())

    def _compact(self, name: str, index: str) -> None:
        self._talk.logs[name].drop_to(int(index))

    def _install(self, source: str, target: str) -> None:
        leader, member, log = self._talk[source], self._talk[target], self._talk.logs[target]
        index, term = leader.journal.base_index, leader.journal.base_term
        log.reset(index, term)
        member.rebased(index, Configurations(leader.configurations.at(index)))
        log.sync()
        leader.snapshot_installed(self._talk.now, target, index)

    # What there is to see.

    def _status(self) -> None:
        for name, one in self._talk.engines.items():
            takes = "" if not one.leads else " takes proposals," if one.takes_proposals else " takes no proposals,"
            self._lines.append(
                f"{name}: {one.role.value},{takes} term {one.term}, voted for {one.journal.voted_for or 'nobody'}, "
                f"commit {one.commit_index}, log {_log(one.journal)}"
            )

    def _progress(self, name: str) -> None:
        leader: Engine = self._talk[name]
        for peer, one in leader.progress.items():
            self._lines.append(
                f"{peer}: {one.state.value}, match {leader.match_index(peer)}, next {one.next}, "
                f"in flight {list(one.unacknowledged)}"
            )


def _text(field: str, value: Any) -> str:
    if field == "entries":
        return "[" + " ".join(f"{term}:{_data(data)}" for term, data in value) + "]"
    return str(value) if type(value) is int else _WORDS[value]


def _value(text: str) -> Any:
    if text.startswith("["):
        pairs = [pair.split(":") for pair in text[1:-1].split()]
        return [(int(term), entry(data)) for term, data in pairs]
    known = {word: value for value, word in _WORDS.items()}
    return known[text] if text in known else int(text)


def _log(log: LogStorage) -> str:
    """term:data of each entry, after what a snapshot covers."""
    entries = [log.entry(index) for index in range(log.base_index + 1, log.last_index + 1)]
    covered = [f"snapshot of {log.base_index}"] if log.base_index else []
    return "[" + " ".join([*covered, *(f"{one.term}:{_data(one.data)}" for one in entries)]) + "]"


def _data(data: bytes) -> str:
    if data[0] == NO_OP:
        return "no-op"
    if data[0] == CONFIGURATION:
        members = Configuration.decode(data[1:], 0).members
        return "members(" + ",".join(m.name if m.voter else f"{m.name} learns" for m in members) + ")"
    assert data[0] == BATCH
    return data[1:].decode()
