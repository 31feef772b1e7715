"""A simulator that cannot share our Python environment: a process in its own, asked over a socket.

The other end is `kinema.bench.simulator_main`. A question is a method's name with its arguments, an answer
its value or what went wrong, both as messages of `kinema.runtime.wire` behind their length. No pickle.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import weakref
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from kinema.bench.gl import prefer_egl
from kinema.runtime.wire import pack, unpack
from kinema.schema import KinemaError

_SIZE_BYTES = 4
_PATIENCE_S = 10.0  # for a process whose socket is closed


class SimulatorError(Exception):
    """The simulator raised. The message is its own."""


class SimulatorDiedError(SimulatorError):
    """The process ended without an answer. The message says how."""


class SimulatorProcess:
    """One object that lives in another process. It ends with this one, or with `close`.

    python: the interpreter of its environment
    target: `module:callable` there, which makes the object whose methods are called
    """

    def __init__(self, python: Path, target: str) -> None:
        if not shutil.which(str(python)):
            raise KinemaError(f"no Python at {python}")
        prefer_egl()
        ours, theirs = socket.socketpair()
        self._said: IO[bytes] = TemporaryFile()  # noqa: SIM115 - `close` does
        with theirs:
            self._process = subprocess.Popen(
                [str(python), "-m", "kinema.bench.simulator_main", target, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said,
            )  # fmt: skip
        self._socket = ours
        self._end = weakref.finalize(self, _end, ours, self._process)

    def call(self, method: str, **arguments: Any) -> Any:
        """What the method returns there. Raises SimulatorError, and KinemaError where that was one there."""
        try:
            send(self._socket, {"call": method, "arguments": arguments})
            answer = receive(self._socket)
        except (BrokenPipeError, ConnectionResetError):
            answer = None
        if answer is None:
            raise SimulatorDiedError(f"the simulator's process {self._how_it_ended()}")
        if "error" in answer:
            raise (KinemaError if answer["ours"] else SimulatorError)(answer["error"])
        return answer["value"]

    def close(self) -> None:
        """End the process."""
        self._end()
        self._said.close()

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            return "closed its socket and does not end"
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return f"died with exit code {code}" + (f": {lines[-1].strip()}" if lines else "")


def _end(ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
    ours.close()  # between two calls this is its word to leave
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def send(end: socket.socket, message: Mapping[str, Any]) -> None:
    """One message."""
    content = pack(message)
    end.sendall(len(content).to_bytes(_SIZE_BYTES, "big") + content)


def receive(end: socket.socket) -> dict[str, Any] | None:
    """The next message; None where the other end is gone."""
    head = _read(end, _SIZE_BYTES)
    content = head and _read(end, int.from_bytes(head, "big"))
    return unpack(content) if content else None


def _read(end: socket.socket, size: int) -> bytes | None:
    content = bytearray()
    while len(content) < size:
        part = end.recv(min(size - len(content), 1 << 20))
        if not part:
            return None
        content += part
    return bytes(content)
