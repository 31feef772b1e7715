"""A queue for several askers, who take turns: one that sends much waits for itself, not others for it."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """What waits, by asker, `most` in all. In each round every asker's oldest item is taken once.

    Who asks for the first time in a round comes before all that had their turn in it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._round: OrderedDict[str, deque[T]] = OrderedDict()  # of those whose turn is to come
        self._next: OrderedDict[str, deque[T]] = OrderedDict()  # of those who had theirs

    def __len__(self) -> int:
        return sum(map(len, self._round.values())) + sum(map(len, self._next.values()))

    @property
    def round_is_over(self) -> bool:
        """Whether the next item's asker had its turn since the last `peek` or `take` of this."""
        return not self._round

    def of(self, asker: str) -> int:
        """How many of this asker wait."""
        return len(self._queues().get(asker, ()))

    def before(self, asker: str) -> int:
        """How many may be taken before one that is added now: of each other, as many as of this one."""
        mine = self.of(asker)
        return mine + sum(min(len(q), mine + 1) for other, q in self._queues().items() if other != asker)

    def add(self, asker: str, item: T) -> T | None:
        """What has no room now: the newest item of whom most wait, `item` where that is its own asker."""
        left_out = None
        if len(self) >= self._most:
            fullest = max(queues := self._queues(), key=self.of)
            if self.of(fullest) <= self.of(asker) + 1:
                return item
            left_out = queues[fullest].pop()
        of_round = self._next if asker in self._next else self._round
        of_round.setdefault(asker, deque()).append(item)
        return left_out

    def peek(self) -> T:
        """The next one, which stays."""
        if not self._round:
            self._round = OrderedDict((asker, queue) for asker, queue in self._next.items() if queue)
            self._next.clear()
        return next(iter(self._round.values()))[0]

    def take(self) -> T:
        item = self.peek()
        asker, queue = self._round.popitem(last=False)
        queue.popleft()
        self._next[asker] = queue
        return item

    def clear(self) -> list[T]:
        items = [item for queue in self._queues().values() for item in queue]
        self._round.clear()
        self._next.clear()
        return items

    def _queues(self) -> dict[str, deque[T]]:
        return {**self._round, **self._next}
