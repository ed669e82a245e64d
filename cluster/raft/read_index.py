"""ReadIndex: a linearizable read waits until its leader has proven that it still leads (Raft dissertation §6.4)."""

from __future__ import annotations

from collections.abc import Callable

Answer = Callable[[int | None], None]
"""Called once, with the log index that the read must see applied; None if leadership ended."""


class ReadRounds:
    """Reads of one leader. At most one round is in flight; reads that come meanwhile share the next one."""

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
        """Round `round_` starts now, for all reads that wait. If it proves leadership, they read at `commit_index`."""
        self._asked, self._waiting = self._waiting, []
        self._round, self._index = round_, commit_index

    def confirm(self, reached: int) -> None:
        """A majority has answered round `reached`."""
        if self._asked and reached >= self._round:
            answers, self._asked = self._asked, []
            for answer in answers:
                answer(self._index)

    def end(self, index: int | None) -> None:
        """Leadership ended: answer all reads with `index` (None)."""
        answers, self._asked, self._waiting = self._asked + self._waiting, [], []
        for answer in answers:
            answer(index)
