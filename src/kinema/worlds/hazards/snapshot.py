"""Putting a tabletop back to where it was, so that "what if" can be asked of it."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.progress import Progress

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Everything that decides how a simulation goes on and what it comes to."""

    state: np.ndarray
    targets: dict[str, np.ndarray]
    progress: Progress


def snapshot(env: TabletopEnv) -> Snapshot:
    model, data = env.scene.model, env.scene.data
    state = np.zeros(mujoco.mj_stateSize(model, _STATE))
    mujoco.mj_getState(model, data, state, _STATE)
    targets = {side: value.copy() for side, value in env.scene.controller.last_targets.items()}
    return Snapshot(state=state, targets=targets, progress=env.task.progress.copy())


def restore(env: TabletopEnv, taken: Snapshot) -> None:
    """Go back to where a snapshot was taken, in the same episode."""
    model, data = env.scene.model, env.scene.data
    mujoco.mj_setState(model, data, taken.state, _STATE)
    mujoco.mj_forward(model, data)
    # computing forces moved the solver's warm start; the replay must begin with the same one
    mujoco.mj_setState(model, data, taken.state, _STATE)
    env.scene.controller.last_targets = {side: value.copy() for side, value in taken.targets.items()}
    env.task.progress = taken.progress.copy()
