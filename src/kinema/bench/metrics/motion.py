"""How an episode moved, from what its body measured."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import tools_m
from kinema.runtime.record import Step
from kinema.runtime.watchdog import Mode


def motion_measures(card: EmbodimentCard, steps: Sequence[Step]) -> dict[str, float]:
    """How an episode moved.

    jerk_m_s3: root mean square of the third difference of the measured tool positions, all arms
    idle:      share of control steps in which nothing fresh was played
    age_s:     from the observation behind an action to the time it is due, mean: how late the body reacts
    changed:   share of control steps in which the guard changed a fresh action
    """
    tools = tools_m(card, np.stack([step.observation.state for step in steps]))  # (N, arms, 3)
    jerk = np.diff(tools, n=3, axis=0) * card.control_hz**3
    ages = [step.age_s for step in steps if step.age_s is not None]
    running = [step for step in steps if step.mode == Mode.RUNNING]
    return {
        "jerk_m_s3": float(np.sqrt((jerk**2).sum(-1).mean())) if len(jerk) else 0.0,
        "idle": 1.0 - len(running) / len(steps),
        "age_s": fmean(ages) if ages else 0.0,
        "changed": sum(bool(step.changes) for step in running) / len(steps),
    }
