"""Tables as they may look in the middle of a long task, without playing it."""

from __future__ import annotations

import numpy as np

from kinema.worlds.tabletop.long.env import LongEnv
from kinema.worlds.tabletop.props import Block

_SETTLE_STEPS = 6  # control steps in which what was put down comes to rest
_WAYS = ("stay", "in", "beside", "on")
_INSIDE_M, _BESIDE_M, _ON_M = 0.035, (0.05, 0.10), 0.02  # from the middle of where it is put


def arrange(env: LongEnv, rng: np.random.Generator) -> None:
    """Put every block of a fresh scene somewhere: well done, nearly, or not at all. All count as carried."""
    task, data = env.task, env.scene.data
    places = [*task.places, *([task.box] * task.task.box)]
    free = list(task.free_blocks())
    for block in [free[i] for i in rng.permutation(len(free))]:
        way = _WAYS[rng.integers(len(_WAYS))]
        others = [other for other in free if other is not block]
        if way == "on" and others:
            other = others[rng.integers(len(others))]
            spot, z = data.qpos[other.qpos : other.qpos + 2], float(data.qpos[other.qpos + 2])
            _put(env, block, spot + _off(rng, 0.0, _ON_M), z + other.shape.half_m[2] + 0.002, rng)
        elif way in ("in", "beside") and places:
            place = places[rng.integers(len(places))]
            near, far = (0.0, _INSIDE_M) if way == "in" else _BESIDE_M
            spot = place.position(data)[:2] + _off(rng, near, far)
            _put(env, block, spot, place.rim_m + 0.005 + 0.03 * float(rng.random()), rng)
    env.task.progress.carried.update(block.name for block in free)
    stand = np.asarray(env.state(), np.float64)
    for _ in range(_SETTLE_STEPS):
        env.step(env.scene.controller.clamp(stand))


def _off(rng: np.random.Generator, near_m: float, far_m: float) -> np.ndarray:
    angle, away_m = rng.uniform(0, 2 * np.pi), rng.uniform(near_m, far_m)
    return away_m * np.array([np.cos(angle), np.sin(angle)])


def _put(env: LongEnv, block: Block, xy: np.ndarray, z_m: float, rng: np.random.Generator) -> None:
    yaw_rad = env.scene.grip_yaw_rad + float(rng.uniform(-0.4, 0.4))
    block.place(env.scene.model, env.scene.data, xy, yaw_rad, z_m)
