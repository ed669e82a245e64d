"""ReadIndex rounds: linearizable reads that wait for proof that their leader still leads (Raft dissertation §6.4)."""

from __future__ import annotations

from collections.abc import Callable

Answer = Callable[[int | None], None]
"""Called once: with the log index that the read must see applied, or None when no proof will come."""


class ReadRounds:
    """Reads of one leader. One round is under way at most; all that ask meanwhile share the next one."""

    def __init__(self) -> None:
        self._waiting: list[Answer] = []
        self._asked: list[Answer] = []
        self._round = 0
        self._index = 0

    def ask(self, answer: Answer) -> None:
        self._waiting.append(answer)

    @property
    def waited_for(self) -> bool:
        return bool(self._waiting or self._asked)

    @property
    def wants_round(self) -> bool:
        return bool(self._waiting) and not self._asked

    def begin(self, round_: int, commit_index: int) -> None:
        """Round `round_` starts now. All that wait may read at `commit_index`, if it proves leadership."""
        self._asked, self._waiting = self._waiting, []
        self._round, self._index = round_, commit_index

    def confirm(self, reached: int) -> None:
        """A majority has answered round `reached`."""
        if self._asked and reached >= self._round:
            answers, self._asked = self._asked, []
            for answer in answers:
                answer(self._index)

    def end(self, index: int | None) -> None:
        """Leadership ended, or never was: nobody is answered by it any more."""
        answers, self._asked, self._waiting = self._asked + self._waiting, [], []
        for answer in answers:
            answer(index)
