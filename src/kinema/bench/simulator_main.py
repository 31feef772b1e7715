"""The process of a simulator: makes one object and calls its methods for `kinema.bench.simulator`.

    python -m kinema.bench.simulator_main MODULE:CALLABLE SOCKET

It runs in the simulator's own environment, with this package beside it.
"""

from __future__ import annotations

import socket
import sys
import traceback
from typing import Any

from kinema.bench.benchmark import Factory
from kinema.bench.simulator import receive, send
from kinema.schema import KinemaError


def serve(end: socket.socket, target: str) -> None:
    """Answer until the other end is gone. What is raised is an answer, too."""
    made: Any = None
    while (question := receive(end)) is not None:
        try:
            made = made or Factory(target=target).build()
            answer = {"value": getattr(made, question["call"])(**question["arguments"])}
        except Exception as error:
            traceback.print_exc()
            ours = isinstance(error, KinemaError)
            answer = {"error": str(error) if ours else f"{type(error).__name__}: {error}", "ours": ours}
        send(end, answer)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[2])) as end:
        serve(end, sys.argv[1])
