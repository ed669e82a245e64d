"""The entries of the log in memory: cheap to append to, to slice and to drop from, however long the log is. Pure.

Only the bytes of each entry are kept, in blocks of 1024 whose place follows from the index; terms are kept as runs.
That is 8 bytes an entry beside its data, and nothing in it is walked by the garbage collector.
"""

from __future__ import annotations

from bisect import bisect_right

from cluster.raft.storage import Entry

_BITS = 10
_BLOCK = 1 << _BITS
_MASK = _BLOCK - 1


class EntryLog:
    """Entries base_index + 1 .. last_index; what comes before is covered by a snapshot.

    Invariant: `_blocks` has every block from that of base_index + 1 to that of last_index + 1 or last_index, the
    last one being `_tail`; `_starts[i]` is the first index of the run of entries of term `_terms[i]`.
    """

    __slots__ = ("_blocks", "_dead", "_starts", "_tail", "_terms", "base_index", "base_term", "last_index", "last_term")

    def __init__(self, base_index: int = 0, base_term: int = 0) -> None:
        self._dead: list[list[bytes]] = []
        self._blocks: dict[int, list[bytes]] = {}
        self.reset(base_index, base_term)

    def reset(self, base_index: int, base_term: int) -> None:
        """Forget all entries; the next one is base_index + 1."""
        self._dead.extend(self._blocks.values())
        self.base_index = self.last_index = base_index
        self.base_term = self.last_term = base_term
        first = base_index + 1
        self._tail = [b""] * (first & _MASK)
        self._blocks = {first >> _BITS: self._tail}
        self._starts: list[int] = []
        self._terms: list[int] = []

    def append(self, data: bytes, term: int) -> int:
        index = self.last_index + 1
        if len(self._tail) == _BLOCK:
            self._tail = self._blocks[index >> _BITS] = []
        self._tail.append(data)
        self.last_index = index
        if not self._terms or self._terms[-1] != term:
            self._starts.append(index)
            self._terms.append(term)
            self.last_term = term
        if self._dead:
            # Freeing a million dropped entries at once would stop the loop for tens of milliseconds.
            self._dead.pop()
        return index

    def data(self, index: int) -> bytes:
        if not self.base_index < index <= self.last_index:
            raise self._lacks(index)
        return self._blocks[index >> _BITS][index & _MASK]

    def entry(self, index: int) -> Entry:
        data, term = self.data(index), self.term_at(index)
        assert term is not None
        return Entry(data, index, term)

    def slice(self, start: int, stop: int, max_bytes: int) -> list[Entry]:
        """Entries `start` .. `stop` - 1 as far as there are any: as many as fit `max_bytes`, but at least one.

        Raises IndexError when `start` is covered by the snapshot, or beyond the entry that comes next.
        """
        if not self.base_index < start <= self.last_index + 1:
            raise self._lacks(start)
        stop = min(stop, self.last_index + 1)
        found: list[Entry] = []
        if start >= stop:
            return found
        run = bisect_right(self._starts, start) - 1
        next_run = self._starts[run + 1] if run + 1 < len(self._starts) else stop
        for index in range(start, stop):
            data = self._blocks[index >> _BITS][index & _MASK]
            max_bytes -= len(data)
            if max_bytes < 0 and found:
                break
            if index == next_run:
                run += 1
                next_run = self._starts[run + 1] if run + 1 < len(self._starts) else stop
            found.append(Entry(data, index, self._terms[run]))
        return found

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`; None outside the log. That of base_index is known."""
        if self._starts and self._starts[-1] <= index <= self.last_index:
            return self._terms[-1]  # As nearly always: what is asked for is of the present term.
        if index == self.base_index:
            return self.base_term
        if not self.base_index < index <= self.last_index:
            return None
        return self._terms[bisect_right(self._starts, index) - 1]

    def _lacks(self, index: int) -> IndexError:
        return IndexError(f"the log has entries {self.base_index + 1} to {self.last_index}, not {index}")

    def terms(self) -> tuple[int, ...]:
        """The terms of the entries, one after the other."""
        return tuple(self._terms)

    def truncate_from(self, index: int) -> None:
        """Forget the entries from `index` on, which must come after base_index; nothing when there are none."""
        if index <= self.base_index:
            raise ValueError(f"entry {index} is covered by the snapshot at {self.base_index} and can't be dropped")
        if index > self.last_index:
            return
        keep = index >> _BITS
        for number in range(keep + 1, (self.last_index >> _BITS) + 1):
            self._dead.append(self._blocks.pop(number))
        self._tail = self._blocks[keep]
        del self._tail[index & _MASK :]
        runs = bisect_right(self._starts, index - 1)
        del self._starts[runs:], self._terms[runs:]
        self.last_index = index - 1
        self.last_term = self._terms[-1] if self._terms else self.base_term

    def drop_to(self, index: int) -> None:
        """Forget the entries up to `index`, an entry of the log, which becomes the base; nothing if it is before."""
        if index <= self.base_index:
            return
        term = self.term_at(index)
        if term is None:
            raise ValueError(f"the log ends at {self.last_index}: it can't be dropped up to {index}")
        if index == self.last_index:
            self.reset(index, term)
            return
        first = index + 1
        for number in range((self.base_index + 1) >> _BITS, first >> _BITS):
            self._dead.append(self._blocks.pop(number))
        rest = first & _MASK
        self._blocks[first >> _BITS][:rest] = [b""] * rest
        runs = bisect_right(self._starts, first) - 1
        del self._starts[:runs], self._terms[:runs]
        self.base_index, self.base_term = index, term
