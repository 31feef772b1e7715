"""LIBERO demonstrations by the scripted expert, from placements that are none of the fixed start states."""

from __future__ import annotations

import numpy as np

from kinema.bench.disturbance import Disturbance, Noise
from kinema.bench.libero.benchmark import LiberoEnv
from kinema.worlds.recording import Recording, record

_SIGMA = 0.25  # at most, of the three displacements, whose range is [-1, 1]
_LINGER_STEPS = 10  # after success


def demonstrate_libero(env: LiberoEnv, seed: int, *, noise: float = 1.0) -> Recording:
    """Let the expert play one episode; `noise` scales what disturbs it, in stretches (0 for none)."""
    env.reset(seed)
    disturbance = Disturbance(Noise(sigma=(0.0, _SIGMA * noise)), np.random.default_rng([seed, 0x6E6F69]))

    def disturb(clean: np.ndarray) -> np.ndarray:
        return np.clip(disturbance.displace(clean), -1.0, 1.0)

    return record(env, env.expert_action, disturb, linger=_LINGER_STEPS)
