"""The state that a restore's pieces make, loaded as they come: no command then takes longer than its own piece.

It is worked out from the staged pieces, and no part of the replicated state: a member that has none, as it started
from a snapshot in the middle, loads all pieces at the commit, and gets the same state or the same refusal.
"""

from __future__ import annotations

from volstore.core.snapshot import Reader
from volstore.core.state import Loading, State


class Rebuilding:
    """Made of the first piece. Raises ValueError where that isn't the beginning of a backup's state."""

    def __init__(self, first: bytes) -> None:
        self._reader = Reader([first])
        self._loading: Loading = State.loading(self._reader)
        self._flaw: ValueError | None = None
        self._advance()

    def feed(self, piece: bytes) -> None:
        """The next piece; what is wrong with it is told at the end."""
        self._reader.feed(piece)
        self._advance()

    def finish(self) -> State:
        """Raises ValueError where the pieces don't make a state."""
        if self._flaw is not None:
            raise self._flaw
        while True:
            try:
                next(self._loading)
            except StopIteration as end:
                state: State = end.value
                return state

    def _advance(self) -> None:
        """Load each row that is there wholly. A state's last frame is no row, so this never ends the loading."""
        try:
            while self._flaw is None and self._reader.has_row:
                next(self._loading)
        except ValueError as error:
            self._flaw = error
