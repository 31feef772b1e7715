"""One drive, recorded: the driver's clean action beside the disturbed one that was carried out.

Axes: T steps, V cameras.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.worlds.road.env import RoadEnv
from kinema.worlds.road.expert import RoadExpert

_LINGER = 5  # steps after success
_STRETCH, _CALM = 8, 25  # mean lengths of what is disturbed and what is not, in steps
_SPREAD = np.array([0.8, 0.05])  # m/s, rad


@dataclass(frozen=True, kw_only=True)
class Drive:
    """Observations before each action, as `data.lerobot_write.Writer` wants them."""

    instruction: str
    images: dict[str, np.ndarray]  # by camera: uint8 (T, H, W, 3)
    state: np.ndarray  # float32 (T, 5)
    action: np.ndarray  # float32 (T, 2)
    executed: np.ndarray  # float32 (T, 2)
    points: np.ndarray  # float32 (T, V, 2, 3)
    success: bool

    def arrays(self) -> dict[str, Any]:
        last = np.arange(len(self.state)) == len(self.state) - 1
        return {
            "images": self.images,
            "state": self.state,
            "action": self.action,
            "executed": self.executed,
            "points": self.points,
            "task": self.instruction,
            "success": last & self.success,
        }


def demonstrate_road(env: RoadEnv, seed: int, *, noise: float = 1.0, render: bool = True) -> Drive:
    """Let the driver drive one episode; `noise` scales what disturbs it, in stretches (0 for none)."""
    env.reset(seed)
    expert, rng = RoadExpert(env), np.random.default_rng([seed, 0x6E6F69])
    images: dict[str, list[np.ndarray]] = {name: [] for name in env.card.camera_names} if render else {}
    states, actions, executed, points = [], [], [], []
    push, left, after = np.zeros(2), 0, 0
    for _ in range(env.max_steps):
        observation = env.observe(render=render)
        for name, image in observation.images.items():
            images[name].append(image)
        clean = expert.act()
        if left == 0 and rng.random() < 1 / _CALM:
            left, push = 1 + int(rng.geometric(1 / _STRETCH)), noise * _SPREAD * rng.standard_normal(2)
        sent = env.clamp(clean + push) if left > 0 else clean
        left = max(0, left - 1)
        states.append(observation.state)
        points.append(env.points())
        actions.append(clean)
        executed.append(sent)
        env.step(sent)
        after = after + 1 if env.success() else 0
        if after > _LINGER or env.over():
            break
    return Drive(
        instruction=env.instruction,
        images={name: np.stack(frames) for name, frames in images.items()},
        state=np.stack(states),
        action=np.stack(actions).astype(np.float32),
        executed=np.stack(executed).astype(np.float32),
        points=np.stack(points),
        success=env.success(),
    )
