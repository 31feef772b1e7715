"""Workers that are processes of this machine, begun anew (spawned), each with one thread."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from kinema.card.card import EmbodimentCard
from kinema.pool.backend import DiedError
from kinema.pool.work import THREAD_LIMITS, Done, Failed, Ready, Unfit, Work, answer, begin

_SPAWN = get_context("spawn")
_PATIENCE_S = 10.0  # for a process that was sent home


@dataclass(eq=False)
class ProcessHandle:
    process: BaseProcess
    pipe: Connection

    def ready(self) -> Ready | Unfit:
        return self._read()

    def send(self, item: Any) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it died idle: `receive` will see that
            self.pipe.send(item)

    def receive(self) -> Done | Failed:
        return self._read()

    def _read(self) -> Any:
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            raise DiedError(f"the worker process died with exit code {self.process.exitcode}") from None

    def leave(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(None)

    def kill(self) -> None:
        self.process.kill()


class Processes:
    """One process for each worker; they inherit the environment and find all files where they are."""

    about: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self._arguments: tuple[Any, ...] = ()
        self._started: list[ProcessHandle] = []

    def open(self, work: Work[Any, Any], cards: tuple[EmbodimentCard, ...], count: int) -> None:
        self._arguments = (work, cards)

    def start(self) -> ProcessHandle:
        ours, theirs = _SPAWN.Pipe()
        with _one_thread_each(), without_ctrl_c():
            process = _SPAWN.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
            process.start()
        theirs.close()
        handle = ProcessHandle(process, ours)
        self._started.append(handle)
        return handle

    def wait(self, busy: Sequence[ProcessHandle], timeout_s: float) -> Sequence[ProcessHandle]:
        ready = connection.wait([handle.pipe for handle in busy], timeout=timeout_s)
        return [handle for handle in busy if handle.pipe in ready]

    def close(self) -> None:
        for handle in self._started:
            handle.process.join(timeout=_PATIENCE_S)
            handle.pipe.close()
        self._started = []


def _serve(pipe: Connection, work: Work[Any, Any], cards: tuple[EmbodimentCard, ...]) -> None:
    """Answer items until the other end sends None or goes away."""
    worker, word = begin(work, cards)
    pipe.send(word)
    if worker is None:
        return
    try:
        while (item := pipe.recv()) is not None:
            pipe.send(answer(worker, item))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # whoever asked is gone
    finally:
        worker.close()


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Processes that are started in here never see Ctrl-C, not even while they import; it waits for the end.

    A signal mask is inherited, so there is no moment in which a child could be interrupted.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """The limits are read when libraries are imported, so the children must be born with them."""
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
