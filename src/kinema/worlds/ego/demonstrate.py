"""One episode of the hand as the person sees and feels it: where wrist and fingers are, and where next."""

from __future__ import annotations

import numpy as np

from kinema.worlds.ego.world import EgoWorld
from kinema.worlds.hand.aligned import LINGER_STEPS, Unhurried
from kinema.worlds.recording import Recording


def demonstrate_ego(world: EgoWorld, seed: int, *, noise: float = 0.0) -> Recording:
    """Record until a while after success. An action is the state of the next step: a person is watched, not
    commanded. `noise` has no meaning here: nobody disturbs a person."""
    world.reset(seed)
    mover, images, states, points = Unhurried(world, seed), [], [], []
    after = 0
    for _ in range(world.max_steps):
        seen = world.observe()
        images.append(next(iter(seen.images.values())))
        states.append(seen.state)
        points.append(world.points())
        world.step(mover.act())
        after = after + 1 if world.success() else 0
        if after > LINGER_STEPS:
            break
    state = np.stack([*states, world.state()])
    return Recording(
        instruction=world.instruction,
        images={world.person.camera_names[0]: np.stack(images)},
        state=state[:-1],
        action=state[1:],
        executed=state[1:],
        points=np.stack(points),
        success=world.success(),
    )
