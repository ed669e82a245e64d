"""Decides which connections are let in, and counts those that are: so many in all, so many for each client address."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass

CLIENT_DEFAULT = 1000
"""Connections from one address, where nothing is set; any number from this machine, on which a proxy, or an agent
that waits for many volumes, may speak for many."""


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """The answer to a refused connection."""

    status: int
    phrase: str
    text: str


class Admission:
    """Belongs to one event loop. `most` and `most_of_client` may be changed; who is in stays in."""

    def __init__(self, most: int, most_of_client: int | None) -> None:
        """`most_of_client`: None for the default, 0 for any number."""
        self.most = most
        self.most_of_client = most_of_client
        self.refused: Counter[int] = Counter()
        """Refusals before any route was found, counted by status since the start."""
        self._clients: Counter[str] = Counter()

    @property
    def connections(self) -> int:
        return self._clients.total()

    def admit(self, client: str) -> Ticket | TurnedAway:
        """A ticket for a new connection from the address `client` (without its port)."""
        if self._clients.total() >= self.most:
            self.refused[503] += 1
            return TurnedAway(503, "Service Unavailable", f"{self.most} connections are open already: try again")
        limit = self._limit(client)
        if limit and self._clients[client] >= limit:
            self.refused[429] += 1
            return TurnedAway(
                429, "Too Many Requests", f"{limit} connections from {client} are open already: use those, or try again"
            )
        self._clients[client] += 1
        return Ticket(self, client)

    def _limit(self, client: str) -> int:
        if self.most_of_client is not None:
            return self.most_of_client
        try:
            return 0 if ipaddress.ip_address(client.partition("%")[0]).is_loopback else CLIENT_DEFAULT
        except ValueError:
            return CLIENT_DEFAULT

    def _leave(self, client: str) -> None:
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]


class Ticket:
    """A connection's place, given back once."""

    __slots__ = ("_admission", "_client")

    def __init__(self, admission: Admission, client: str) -> None:
        self._admission: Admission | None = admission
        self._client = client

    def refused(self, status: int) -> None:
        """Count a refusal of what came on the connection."""
        if self._admission is not None:
            self._admission.refused[status] += 1

    def give_back(self) -> None:
        if self._admission is not None:
            self._admission._leave(self._client)
            self._admission = None
