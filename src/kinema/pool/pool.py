"""Items go to workers, answers come back; a worker that dies costs its item one more try.

The rules are the same wherever the workers run: as many items are out as there are workers, a worker keeps to
one kind of item while there are any (what it has open is dear), and an item whose worker dies twice, or that
takes longer than it may, is lost and says so.
"""

from __future__ import annotations

import math
import time
from bisect import insort
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from kinema.card.load import own_cards
from kinema.pool.backend import Backend, DiedError, Handle, NoRoomError
from kinema.pool.work import Done, Failed, Unfit, Work
from kinema.schema import KinemaError

_STARTS = 3  # workers that die at birth, one after the other, until the pool gives up
_AHEAD = 4  # times the workers: how far an answer may be ahead of the oldest one that is not there yet

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


@dataclass(frozen=True)
class Lost:
    """In place of a result."""

    cause: str


@dataclass
class _Errand(Generic[I]):
    number: int
    item: I
    died: bool = False  # its first worker


@dataclass
class _Seat(Generic[I]):
    """A worker's place. handle: None while nobody is in it."""

    handle: Handle | None
    errand: _Errand[I] | None = None
    kind: Hashable = None  # of its last item
    started_s: float = 0.0


class Pool(Generic[I, R]):
    """Workers for one kind of work, from `with` until its end.

    limit_s: how long an item may take before its worker is stopped; kind: of items that share what is open
    """

    def __init__(
        self, backend: Backend[Any], work: Work[I, R], count: int, *,
        limit_s: float = math.inf, kind: Callable[[I], Hashable] = lambda item: None,
    ) -> None:  # fmt: skip
        self._backend, self._work, self._count = backend, work, count
        self._limit_s, self._kind = limit_s, kind
        self._seats: list[_Seat[I]] = []
        self._failed_starts = 0  # in a row
        self.said: Mapping[str, Any] = {}  # by the worker that was ready last
        self.about: Mapping[str, Any] = {}  # where they run

    def __enter__(self) -> Self:
        """Start the workers. Raises KinemaError with what one says that cannot begin."""
        try:
            if self._count:
                self._backend.open(self._work, own_cards(), self._count)
                self.about = self._backend.about
            self._seats = [_Seat(self._backend.start()) for _ in range(self._count)]
            for seat in self._seats:
                self._greet(seat)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Send everybody home; whoever is in the middle of an item is stopped."""
        for seat in self._seats:
            if seat.handle is not None:
                seat.handle.kill() if seat.errand else seat.handle.leave()
        self._seats = []
        self._backend.close()

    def run(self, items: Sequence[I]) -> Iterator[tuple[I, R | Lost]]:
        """Every item with its result, in the order in which they finish.

        Raises what a worker's `do` has raised, and KinemaError when workers that died cannot be replaced.
        """
        for errand, result in self._results(items, ahead=len(items)):
            yield errand.item, result

    def run_in_order(self, items: Sequence[I]) -> Iterator[tuple[I, R | Lost]]:
        """As `run`, in the order of the items; few results are held back at a time."""
        held: dict[int, tuple[I, R | Lost]] = {}
        due = 0
        for errand, result in self._results(items, ahead=_AHEAD * self._count):
            held[errand.number] = errand.item, result
            while due in held:
                yield held.pop(due)
                due += 1

    def _results(self, items: Sequence[I], ahead: int) -> Iterator[tuple[_Errand[I], R | Lost]]:
        """ahead: how many numbers after the oldest open item another one may be begun"""
        waiting = [_Errand(number, item) for number, item in enumerate(items)]
        self._fill(waiting, ahead)
        while busy := [seat for seat in self._seats if seat.errand]:
            ready = self._backend.wait([seat.handle for seat in busy], 1.0)
            for seat in busy:
                errand = seat.errand
                assert errand is not None
                if seat.handle in ready:
                    result = self._collect(seat, errand)
                elif time.monotonic() - seat.started_s > self._limit_s:
                    self._bury(seat)
                    result = Lost(f"ran longer than {self._limit_s:g} s and was stopped")
                else:
                    continue
                if result is None:
                    insort(waiting, errand, key=lambda one: one.number)
                else:
                    yield errand, result  # with whoever asked, before anything else can fail
                self._fill(waiting, ahead)

    def _collect(self, seat: _Seat[I], errand: _Errand[I]) -> R | Lost | None:
        """The result; None when the worker is dead and the item may be tried again."""
        assert seat.handle is not None
        try:
            answer = seat.handle.receive()
        except DiedError as death:
            self._bury(seat)
            if not errand.died:
                errand.died = True
                return None
            return Lost(f"{death}, and so did the one before")
        seat.errand = None
        if isinstance(answer, Failed):
            raise answer.error from _InWorkerError(answer.trace)
        assert isinstance(answer, Done)
        return answer.result

    def _bury(self, seat: _Seat[I]) -> None:
        assert seat.handle is not None
        seat.handle.kill()
        seat.handle = seat.errand = None

    def _fill(self, waiting: list[_Errand[I]], ahead: int) -> None:
        """Something to do for everybody who has nothing; new workers in place of dead ones."""
        for seat in list(self._seats):
            if seat.errand:
                continue
            open_numbers = [other.errand.number for other in self._seats if other.errand]
            oldest = min([*open_numbers, *(errand.number for errand in waiting[:1])], default=0)
            free = [errand for errand in waiting if errand.number < oldest + ahead]
            if not free or not self._alive(seat):
                continue
            assert seat.handle is not None
            seat.errand = self._choose(seat, free)
            waiting.remove(seat.errand)
            seat.kind, seat.started_s = self._kind(seat.errand.item), time.monotonic()
            seat.handle.send(seat.errand.item)

    def _choose(self, seat: _Seat[I], free: list[_Errand[I]]) -> _Errand[I]:
        """Of the worker's own kind if there is one left, else of a kind that no other has."""
        taken = {other.kind for other in self._seats if other.errand}
        own = (errand for errand in free if self._kind(errand.item) == seat.kind)
        fresh = (errand for errand in free if self._kind(errand.item) not in taken)
        return next(own, None) or next(fresh, free[0])

    def _alive(self, seat: _Seat[I]) -> bool:
        """Whether somebody is in the seat, if need be somebody new; without room for one the seat goes."""
        while seat.handle is None:
            try:
                seat.handle = self._backend.start()
                self._greet(seat)
            except NoRoomError as error:
                seat.handle = None
                self._seats.remove(seat)
                if not self._seats:
                    raise KinemaError(
                        f"{error}; what is finished is kept, the same command goes on"
                    ) from None
                return False
            except _DiedAtStartError as error:
                seat.handle = None
                self._failed_starts += 1
                if self._failed_starts >= _STARTS:
                    raise KinemaError(
                        f"{error}: {_STARTS} in a row; what is finished is kept, the same command goes on"
                    ) from None
                continue
            self._failed_starts = 0
        return True

    def _greet(self, seat: _Seat[I]) -> None:
        assert seat.handle is not None
        try:
            word = seat.handle.ready()
        except DiedError as death:
            seat.handle = None
            raise _DiedAtStartError(f"while it was starting, {death}; see above") from None
        if isinstance(word, Unfit):
            raise KinemaError(word.why)
        self.said = word.said


class _DiedAtStartError(KinemaError):
    """A worker that ended without a word."""


class _InWorkerError(Exception):
    """Where in the worker an error was raised."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"
