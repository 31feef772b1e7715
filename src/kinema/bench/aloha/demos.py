"""ALOHA demonstrations by the scripted expert."""

from __future__ import annotations

import numpy as np

from kinema.bench.aloha.benchmark import CARD, AlohaEnv
from kinema.card.load import load_card
from kinema.worlds.recording import Recording, record
from kinema.worlds.tabletop.demonstrate import Disturbance, Noise

_SCALE = {"transfer_cube": 0.4, "insertion": 0.2}  # of the tabletop's; pegs bear less
_LINGER_STEPS = {
    "transfer_cube": 60,
    "insertion": 10,
}  # after success; the first arm has let go of the cube then


def demonstrate_aloha(env: AlohaEnv, seed: int, *, noise: float = 1.0) -> Recording:
    """Let the expert play one episode; `noise` scales what disturbs it, in stretches (0 for none)."""
    env.reset(seed)
    drawn = Noise(scale=_SCALE[env.task] * noise, share=0.4 if noise else 0.0, gripper_flip=0.0)
    disturbance = Disturbance(load_card(CARD), drawn, np.random.default_rng([seed, 0x6E6F69]))
    return record(env, env.expert_action, disturbance.apply, linger=_LINGER_STEPS[env.task])
