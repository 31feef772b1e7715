"""Where a pool's workers run: the one interface, and which of the two ways an option of a command means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from kinema.card.card import EmbodimentCard
from kinema.pool.work import Done, Failed, Ready, Unfit, Work
from kinema.schema import KinemaError


class DiedError(Exception):
    """A worker ended without a word. The message says how."""


class NoRoomError(KinemaError):
    """There is no place for a worker any more; the others may go on."""


class Handle(Protocol):
    """One worker as the pool sees it; `send` and `receive` take turns."""

    def ready(self) -> Ready | Unfit:
        """Wait until it can work. Raises DiedError."""
        ...

    def send(self, item: Any) -> None: ...

    def receive(self) -> Done | Failed:
        """The answer. Raises DiedError."""
        ...

    def leave(self) -> None:
        """Send it home; it has nothing to do."""
        ...

    def kill(self) -> None: ...


H = TypeVar("H", bound=Handle)


class Backend(Protocol[H]):
    """Starts workers."""

    @property
    def about(self) -> Mapping[str, Any]:
        """What a result's provenance keeps of it."""
        ...

    def open(self, work: Work[Any, Any], cards: tuple[EmbodimentCard, ...], count: int) -> None:
        """Before the first start. Raises KinemaError where so many workers can never run."""
        ...

    def start(self) -> H:
        """Begin a worker without waiting for it. Raises NoRoomError."""
        ...

    def wait(self, busy: Sequence[H], timeout_s: float) -> Sequence[H]:
        """Those that have an answer or are dead, as soon as there is one; none after the time."""
        ...

    def close(self) -> None:
        """After all workers were sent home or killed."""
        ...


def backend(ray: str | None = None) -> Backend[Any]:
    """Processes of this machine; with an address, actors on Ray. Raises KinemaError without Ray."""
    if ray is None:
        from kinema.pool.processes import Processes

        return Processes()
    from kinema.pool.on_ray import OnRay

    return OnRay(ray)
