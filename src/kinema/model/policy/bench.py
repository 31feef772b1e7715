"""Latency of acting, one observation to a chunk: checks, resizing, words, network and decoding together."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kinema.model.policy import made_up
from kinema.model.policy.act import LocalPolicy
from kinema.model.policy.loading import PLAIN, Loading
from kinema.schema import Observation

LIMIT_S = 0.050  # 20 Hz


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Seconds; `of_limit` is the 95th percentile as a fraction of 50 ms."""

    card: str
    views: int
    steps: int  # Euler steps
    median_s: float
    p95_s: float
    of_limit: float

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def measure_latency(
    folder: Path,
    *,
    card: str | None = None,
    threads: int = 2,
    repeats: int = 100,
    steps: tuple[int, ...] = (1, 2, 4),
    loading: Loading = PLAIN,
) -> list[Latency]:
    """Latency of an artifact for each number of Euler steps, on made-up observations of one body."""
    policy = LocalPolicy(folder, loading=loading, threads=threads)
    name = card or next(iter(policy.artifact.codecs))
    codec = policy.artifact.codec(name)
    observation = made_up.observation(codec.card, policy.artifact.policy.config.source_size)
    rows = []
    for count in steps:
        policy.sample_steps = count
        seconds = [_timed(policy, observation, name) for _ in range(repeats + 5)][
            5:
        ]  # the first ones warm up
        p95 = float(np.quantile(seconds, 0.95))
        rows.append(
            Latency(
                card=name,
                views=len(codec.card.cameras),
                steps=count,
                median_s=float(np.median(seconds)),
                p95_s=p95,
                of_limit=p95 / LIMIT_S,
            )
        )
    return rows


def _timed(policy: LocalPolicy, observation: Observation, card: str) -> float:
    begin = time.perf_counter()
    policy.infer(observation, card)
    return time.perf_counter() - begin
