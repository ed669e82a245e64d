"""Who leads was elected by a majority, and what is committed is on a majority's disks: judged by what was seen of each.

Not by what a member is at the moment when a leader counts it. It may have died since, or just be reading its disk;
and the disk that held what it acknowledged may have been replaced while the acknowledgement was under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.raft.membership import majority

if TYPE_CHECKING:
    from cluster.node.node import Node
    from cluster.raft.membership import Configuration
    from cluster.raft.messages import Frame
    from cluster.storage.journal import Journal
    from tests.simulation.server import Server
    from tests.simulation.world import World


class Majorities:
    def __init__(self, world: World) -> None:
        self._world = world
        self._votes: dict[tuple[int, str], set[str]] = {}
        """(term, candidate) → who ever sent it a vote."""
        self._journals: dict[str, dict[bytes, Journal]] = {}
        """By server and disk (incarnation): the journal of the last run that has read it. One whose run is over still
        says what was synced; one whose disk is lost, what that held."""

    def reads(self, server: Server, node: Node) -> None:
        """This run of the node has read its disk."""
        self._journals.setdefault(server.name, {})[node.incarnation] = node.journal

    def sent(self, server: Server, peer: str, frame: Frame) -> None:
        if frame[0] == "vote" and frame[2] and not frame[3]:
            self._votes.setdefault((frame[1], peer), set()).add(server.name)

    def check_election(self, server: Server, node: Node) -> None:
        """Who begins to lead has the votes of a majority, its own among them only if it gave it to itself."""
        term, voters = node.engine.term, node.engine.configuration.voters
        given = self._votes.get((term, server.name), set())
        own = {server.name} if (node.journal.term, node.journal.voted_for) == (term, server.name) else set()
        votes = len((given | own) & set(voters))
        if votes < majority(len(voters)):
            self._world.violated(
                "elected by a majority", f"{server.name} leads term {term} with {votes} of {len(voters)} votes"
            )

    def check_commit(self, node: Node, index: int, term: int) -> None:
        """An entry that a leader commits is on the disks of a majority, or was on those of them that are lost."""
        configuration = node.engine.configuration
        voters = configuration.voters
        holding = sum(
            any(_holds(journal, index, term) for journal in self._disks(configuration, voter)) for voter in voters
        )
        if holding < majority(len(voters)):
            self._world.violated(
                "on a majority's disks", f"entry {index} is committed with {holding} of {len(voters)} disks"
            )

    def _disks(self, configuration: Configuration, voter: str) -> list[Journal]:
        """The disk that the configuration names; before it names any, all that came under the voter's name."""
        member, journals = configuration.member(voter), self._journals.get(voter, {})
        if member is not None and member.incarnation:
            return [journals[member.incarnation]] if member.incarnation in journals else []
        return list(journals.values())


def _holds(journal: Journal, index: int, term: int) -> bool:
    synced = journal.durable_index >= index and journal.term_at(index) == term
    return synced or journal.base_index >= index
