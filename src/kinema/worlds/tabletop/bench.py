"""How fast the tabletop runs: control steps per second of one core, pictures included."""

from __future__ import annotations

import time

from kinema.card.card import EmbodimentCard
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.experts.expert import Expert


def measure_steps_per_s(
    card: EmbodimentCard, seconds: float, *, family: str = "pick_place", image_size: int = 128
) -> float:
    """Control steps per second of processor time while the expert acts and every camera is rendered.

    `seconds` of processor time are spent, whatever else runs on the machine. The expert's own thinking is
    not counted; resets are.
    """
    env = TabletopEnv(card=card, family=family, image_size=image_size)
    expert = Expert(env)
    steps, spent_s, seed = 0, 0.0, 0
    env.reset(seed)
    env.observe()  # the first picture makes the OpenGL context
    while spent_s < seconds:
        started = time.process_time()
        if env.success() or env.scene.data.time * card.control_hz > env.max_steps:
            seed += 1
            env.reset(seed)
        spent_s += time.process_time() - started
        action = expert.act()
        started = time.process_time()
        env.step(action)
        env.observe()
        spent_s += time.process_time() - started
        steps += 1
    env.close()
    return steps / spent_s
