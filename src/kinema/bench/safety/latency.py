"""How long a gate takes to judge eight candidates of a second each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from kinema.card.load import load_card
from kinema.schema import ActionChunk, Observation, Verdict
from kinema.worlds.hazards.env import HazardEnv
from kinema.worlds.tabletop.env import families_for

_SEED = 420_000  # any scene will do: only time is measured
_QUESTIONS, _WARM_UP = 150, 20
_CANDIDATES = 8


class Judge(Protocol):
    """A gate that says of each chunk whether it may be played."""

    def judge(
        self, observation: Observation, chunks: Sequence[ActionChunk], earlier: np.ndarray | None = None
    ) -> list[Verdict]: ...


def measure_latency(gate: Judge, bodies: Sequence[str]) -> dict[str, dict[str, float]]:
    """Milliseconds by body: the percentiles p50, p95 and p99."""
    found: dict[str, dict[str, float]] = {}
    for name in bodies:
        card = load_card(name)
        env = HazardEnv(card=card, family=families_for(name)[0])
        env.reset(_SEED)
        observation = env.observe()
        env.close()
        times_s = observation.time_s + (1 + np.arange(card.chunk)) / card.control_hz
        rng = np.random.default_rng(0)
        low, high = np.array([channel.range for channel in card.actions]).T
        chunks = [
            ActionChunk(values=rng.uniform(low, high, (card.chunk, len(low))), times_s=times_s, card=name)
            for _ in range(_CANDIDATES)
        ]
        ms = []
        for _ in range(_QUESTIONS):
            began = time.perf_counter()
            gate.judge(observation, chunks, next(iter(observation.images.values())))
            ms.append(1e3 * (time.perf_counter() - began))
        found[name] = {
            key: float(np.percentile(ms[_WARM_UP:], q)) for key, q in (("p50", 50), ("p95", 95), ("p99", 99))
        }
    return found
