"""A queue for several askers, who take turns: one that sends much waits for itself, not others for it."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """What waits, by asker. Each `take` gives the oldest item of the asker whose turn is longest ago."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def of(self, asker: str) -> int:
        """How many of this asker wait."""
        return len(self._waiting.get(asker, ()))

    def before(self, asker: str) -> int:
        """How many would be taken before one that is added now: of each other, as many as of this one."""
        mine = self.of(asker)
        return mine + sum(min(len(q), mine + 1) for other, q in self._waiting.items() if other != asker)

    def add(self, asker: str, item: T) -> None:
        self._waiting.setdefault(asker, deque()).append(item)

    def peek(self) -> T:
        """The next one, which stays."""
        return next(iter(self._waiting.values()))[0]

    def take(self) -> T:
        asker, queue = next(iter(self._waiting.items()))
        item = queue.popleft()
        self._waiting.move_to_end(asker)
        if not queue:
            del self._waiting[asker]
        return item

    def displace(self, asker: str) -> T | None:
        """Take the newest item of whom most wait, to make room; None where that is this asker's own."""
        most = max(self._waiting, key=self.of)
        if self.of(most) <= self.of(asker) + 1:
            return None
        return self._waiting[most].pop()

    def clear(self) -> list[T]:
        items = [item for queue in self._waiting.values() for item in queue]
        self._waiting.clear()
        return items
