"""SimplerEnv demonstrations by the scripted expert, from placements that are none of the configurations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kinema.bench.disturbance import Disturbance, Noise
from kinema.bench.simpler.benchmark import SimplerEnv
from kinema.worlds.recording import Recording, record

_SIGMA_M = 0.008  # at most, of the three displacements
_LINGER_STEPS = 5  # after success, while the arm withdraws


def demonstrate_simpler(
    env: SimplerEnv, seed: int, *, noise: float = 1.0, prelude: Callable[[SimplerEnv], None] | None = None
) -> Recording:
    """Let the expert play one episode; `noise` scales what disturbs it, in stretches (0 for none).

    `prelude` may act first, unrecorded.
    """
    env.reset(seed)
    if prelude is not None:
        prelude(env)
    drawn = Noise(sigma=(0.0, _SIGMA_M * noise), noisy_steps=(2, 6), clean_steps=(4, 10))
    disturbance = Disturbance(drawn, np.random.default_rng([seed, 0x6E6F69]))
    return record(env, env.expert_action, disturbance.displace, linger=_LINGER_STEPS)
