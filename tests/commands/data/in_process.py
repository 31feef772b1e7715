"""In the role of a pool's backend: items are done here, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kinema.pool.work import Done, Failed, Ready, Unfit, Work, answer, begin


class InProcess:
    """A backend without processes; its handles are workers, too."""

    about: Mapping[str, Any] = {}

    def __init__(self, ray: None) -> None: ...

    def open(self, work: Work[Any, Any], cards: Any, count: int) -> None:
        self._work, self._cards = work, cards

    def start(self) -> InProcessHandle:
        return InProcessHandle(self._work, self._cards)

    def wait(self, busy: Sequence[InProcessHandle], timeout_s: float) -> Sequence[InProcessHandle]:
        return busy

    def close(self) -> None: ...


class InProcessHandle:
    def __init__(self, work: Work[Any, Any], cards: Any) -> None:
        self._worker, self._word = begin(work, cards)

    def ready(self) -> Ready | Unfit:
        return self._word

    def send(self, item: Any) -> None:
        self._item = item

    def receive(self) -> Done | Failed:
        return answer(self._worker, self._item)

    def leave(self) -> None: ...

    def kill(self) -> None: ...
