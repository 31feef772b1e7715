"""One episode, recorded: what whoever shows it says in a state, beside what was sent instead.

Axes: T steps, V cameras, S state channels, D action channels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kinema.schema import Observation


class World(Protocol):
    """What can be recorded: reset already, and told in a sentence what is wanted."""

    max_steps: int
    instruction: str

    def observe(self, render: bool = True) -> Observation: ...

    def points(self) -> np.ndarray: ...

    def step(self, action: np.ndarray) -> None: ...

    def success(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Observations before each action."""

    instruction: str
    images: dict[str, np.ndarray]  # by camera: uint8 (T, H, W, 3)
    state: np.ndarray  # float32 (T, S)
    action: np.ndarray  # float32 (T, D), what is right in that state
    executed: np.ndarray  # float32 (T, D), what was sent
    points: np.ndarray  # float32 (T, V, 2, 3)
    success: bool

    def arrays(self) -> dict[str, Any]:
        """The episode as `data.lerobot_write.Writer` wants it: success is told of its last step."""
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


def record(
    world: World,
    act: Callable[[], np.ndarray],
    disturb: Callable[[np.ndarray], np.ndarray],
    *,
    linger: int,
    over: Callable[[], bool] = lambda: False,
    render: bool = True,
) -> Recording:
    """Step until `linger` steps after success, until it is over, or for the world's `max_steps`.

    act: the right action (D,) in the present state; disturb: what is sent in its place
    """
    images: dict[str, list[np.ndarray]] = defaultdict(list)
    states, actions, executed, points = [], [], [], []
    after = 0
    for _ in range(world.max_steps):
        observation = world.observe(render=render)
        for name, image in observation.images.items():
            images[name].append(image)
        clean = act()
        sent = disturb(clean)
        states.append(observation.state)
        points.append(world.points())
        actions.append(clean)
        executed.append(sent)
        world.step(sent)
        after = after + 1 if world.success() else 0
        if after > linger or over():
            break
    return Recording(
        instruction=world.instruction,
        images={name: np.stack(frames) for name, frames in images.items()},
        state=np.stack(states),
        action=np.stack(actions).astype(np.float32),
        executed=np.stack(executed).astype(np.float32),
        points=np.stack(points),
        success=world.success(),
    )
