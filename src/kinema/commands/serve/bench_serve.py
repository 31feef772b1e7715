"""`kinema bench serve`: what the server adds to the bare policy, and how it bears too many clients.

The server runs in its own process with a database of its own, so its memory and its usage rows are its own.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinema.commands.terminal import examples, finite, table

if TYPE_CHECKING:
    from kinema.card.card import EmbodimentCard
    from kinema.commands.serve.load import Outcome
    from kinema.schema import Observation

EXAMPLES = examples(
    "kinema bench serve",
    "kinema bench serve --clients 64 --seconds 300",
    "kinema bench serve hold --seconds 0",
)
OVERHEAD_LIMIT_MS = 3.0
START_LIMIT_S = 180.0


def serve(
    artifact: Annotated[str, typer.Argument(help="What `kinema serve` takes.")] = "shipped",
    robot: Annotated[str, typer.Option(help="The body that asks.")] = "panda",
    rounds: Annotated[int, typer.Option(help="Questions for the overhead.", min=10)] = 300,
    clients: Annotated[int, typer.Option(help="Clients at once for the load.", min=1)] = 64,
    seconds: Annotated[
        float, typer.Option(help="How long the load lasts; 0 leaves it out.", min=0.0, callback=finite)
    ] = 20.0,
    image_px: Annotated[int, typer.Option(help="Side of the pictures that are sent.", min=16)] = 96,
) -> None:
    """Overhead for one client, median and p95, then a load beyond capacity. Exit 1: a bar was missed."""
    from kinema.card.load import load_card
    from kinema.model.policy.made_up import observation as made_up

    card = load_card(robot)
    observation = made_up(card, image_px)
    with TemporaryDirectory() as folder, server(artifact, Path(folder)) as running:
        overhead = measure_overhead(running, artifact, card, observation, rounds)
        print(
            table(
                overhead.rows(), (f"one client, {image_px} px x {len(card.cameras)}", "median ms", "p95 ms")
            )
        )
        good = overhead.median_ms <= OVERHEAD_LIMIT_MS
        if seconds:
            load = measure_load(running, card, observation, clients, seconds)
            print()
            print(table(load.rows(), (f"{clients} clients for {seconds:g} s", "")))
            good &= load.good
    raise typer.Exit(0 if good else 1)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A server process and where it is. secrets: of the keys that were asked for, in their order."""

    process: subprocess.Popen[str]
    host: str
    secrets: tuple[str, ...] = ()

    def memory_mb(self) -> float:
        """What the process holds now (Linux), else NaN."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except OSError:
            return float("nan")
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def usage_rows(self) -> int:
        """Answers that the server has written down."""
        import json
        from urllib.request import urlopen

        with urlopen(f"http://{self.host}/v1/usage", timeout=60) as answer:
            return sum(row["requests"] for row in json.load(answer))


@contextmanager
def server(
    artifact: str, folder: Path, *, keys: Sequence[str] = (), home: Path | None = None, kept: bool = True
) -> Iterator[Running]:
    """`kinema serve` on a free port of this machine, with its accounts in `folder`, if any are kept.

    keys: names of keys to make; then every client is asked for one, and the limits are those of a server
    that is told nothing. Without, one client may ask as fast as it can.
    """
    code = "from kinema.cli import main; main()"
    database = f"sqlite:///{folder / 'serve.sqlite'}"
    arguments = ["serve", artifact, "--port", "0", "--no-gate"]
    arguments += ["--database", database] if kept else []
    arguments += ["--keys"] if keys else ["--message-rate", "100000"]
    secrets = _make_keys(keys, database)
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "KINEMA_HOME": str(home or folder)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()  # blocks until it listens, or has ended
        found = re.search(r"http://(\S+)", line)
        if found is None:
            raise typer.Exit(process.wait())
        host = found[1]
        _wait_until_healthy(host)
        yield Running(process=process, host=host, secrets=secrets)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _make_keys(names: Sequence[str], database: str) -> tuple[str, ...]:
    from kinema.serve.keys import Keys
    from kinema.serve.store import open_store

    if not names:
        return ()
    keys = Keys(open_store(database))
    return tuple(keys.make(name, rate_hz=None, quota_per_day=None, admin=False)[1] for name in names)


def _wait_until_healthy(host: str) -> None:
    from urllib.error import URLError
    from urllib.request import urlopen

    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until:
        try:
            with urlopen(f"http://{host}/healthz", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.05)
    raise TimeoutError(f"{host} did not become healthy within {START_LIMIT_S:g} s")


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """Milliseconds of each question: in this process, over the stream, and inside the server's policy."""

    bare_ms: list[float]
    served_ms: list[float]
    inside_ms: list[float]

    @property
    def added_ms(self) -> list[float]:
        """Of each question, all but the policy's own time for it."""
        return [whole - inside for whole, inside in zip(self.served_ms, self.inside_ms)]

    @property
    def median_ms(self) -> float:
        from statistics import median

        return median(self.added_ms)

    def rows(self) -> list[tuple[str, str, str]]:
        import numpy as np

        named = {
            "the policy in this process": self.bare_ms,
            "over /v1/stream": self.served_ms,
            "the policy in the server": self.inside_ms,
            f"overhead (bar: {OVERHEAD_LIMIT_MS:g} ms)": self.added_ms,
        }
        return [(name, *(f"{np.quantile(ms, q):.2f}" for q in (0.5, 0.95))) for name, ms in named.items()]  # type: ignore[misc]


def measure_overhead(
    running: Running, artifact: str, card: EmbodimentCard, observation: Observation, rounds: int
) -> Overhead:
    """The same question by turns to the policy in this process and to the server."""
    from kinema.commands.serve.served import served
    from kinema.runtime.client import RemotePolicy
    from kinema.schema import Question

    bare = served(artifact).policy
    question = Question(observation=observation, card=card.name, noise_seed=0)
    times: dict[str, list[float]] = {"bare": [], "served": [], "inside": []}
    with RemotePolicy(f"ws://{running.host}", timeout_s=30.0) as remote:
        for _ in range(rounds + 5):
            began = time.perf_counter()
            bare.answer([question])
            between = time.perf_counter()
            remote.infer(observation, card.name)
            times["bare"].append(1e3 * (between - began))
            times["served"].append(1e3 * (time.perf_counter() - between))
            times["inside"].append(float(remote.last_timing_ms["infer_ms"]))
    warm = {name: ms[5:] for name, ms in times.items()}
    return Overhead(bare_ms=warm["bare"], served_ms=warm["served"], inside_ms=warm["inside"])


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What a load did to the server. memory_mb: once a second, from the beginning of the load."""

    outcome: Outcome
    memory_mb: list[float]
    rows_written: int
    alive: bool

    @property
    def growth_mb(self) -> float:
        """From the second quarter of the load to its last: what comes before is warming up."""
        from statistics import median

        quarter = max(1, len(self.memory_mb) // 4)
        return median(self.memory_mb[-quarter:]) - median(
            self.memory_mb[quarter : 2 * quarter] or self.memory_mb
        )

    @property
    def good(self) -> bool:
        """No crash, no lost row, all answered or refused in time, memory flat (below 5 %)."""
        found = self.outcome
        whole = not (found.late or found.wrong or found.lost or found.unanswered)
        kept = self.rows_written >= len(found.answered_s) > 0
        return self.alive and whole and kept and self.growth_mb < 0.05 * max(self.memory_mb[-1], 1.0)

    def rows(self) -> list[tuple[str, Any]]:
        found = self.outcome
        answered, refused = found.answered_s, found.refused_s
        codes = ", ".join(f"{code} {count}" for code, count in found.codes.items()) or "none"
        return [
            ("asked", found.asked),
            ("answered", f"{len(answered)} ({len(answered) / found.lasted_s:.1f} per second)"),
            ("refused", f"{len(refused)} ({codes})"),
            ("neither in time, wrong, connections lost", f"{found.late}, {found.wrong}, {found.lost}"),
            ("answer median, p95 ms", _two(found, answered)),
            ("refusal median, p95 ms", _two(found, refused)),
            ("usage rows for answers", f"{self.rows_written} for {len(answered)}"),
            ("memory at first, at last, growth MB", self._memory()),
            ("server alive", "yes" if self.alive else "no"),
        ]

    def _memory(self) -> str:
        return f"{self.memory_mb[0]:.0f}, {self.memory_mb[-1]:.0f}, {self.growth_mb:+.1f}"


def _two(found: Outcome, times_s: list[float]) -> str:
    return f"{found.quantile_ms(times_s, 0.5):.0f}, {found.quantile_ms(times_s, 0.95):.0f}"


def measure_load(
    running: Running, card: EmbodimentCard, observation: Observation, clients: int, seconds: float
) -> LoadReport:
    """All clients for so long; then the server's memory, its rows and its pulse."""
    from kinema.commands.serve.load import Load, press
    from kinema.runtime.messages import PATH

    before = running.usage_rows()
    memory_mb: list[float] = []
    load = Load(url=f"ws://{running.host}{PATH}", clients=clients, seconds=seconds)
    outcome = asyncio.run(press(load, observation, card.name, lambda: memory_mb.append(running.memory_mb())))
    return LoadReport(
        outcome=outcome,
        memory_mb=memory_mb,
        rows_written=running.usage_rows() - before,
        alive=running.process.poll() is None,
    )
