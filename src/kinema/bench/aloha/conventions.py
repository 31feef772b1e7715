"""What an action, a state and a picture of ALOHA are: said by both sides, compared before the first step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import gripper_of

_DIGITS = 5  # to which numbers are compared


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """The package's are tried out on its running simulation, ours follow from the card.

    actions:  the joint that each number of an action drives, in order
    states:   the joint that each number of the state measures, in order
    ranges:   of the arms' joints, in the order of actions [rad]
    fingers:  how far the first finger is out at a gripper's 0 and 1, by command and as measured [m]
    bases:    where the two arms stand, left and right [m]
    """

    control_hz: float
    actions: tuple[str, ...]
    states: tuple[str, ...]
    ranges: tuple[tuple[float, ...], ...]
    fingers: tuple[tuple[float, ...], ...]
    bases: tuple[tuple[float, ...], ...]
    cameras: tuple[str, ...]


def of_card(card: EmbodimentCard) -> Conventions:
    """What our side stands by."""
    gripper = gripper_of(card.arms[0])
    ends = (gripper.closed[0], gripper.open[0])
    return Conventions(
        control_hz=card.control_hz,
        actions=tuple(channel.name for channel in card.actions),
        states=tuple(channel.name for channel in card.states),
        ranges=tuple(_rounded(channel.range) for channel in card.actions if channel.unit == "rad"),
        fingers=(_rounded(ends), _rounded(ends)),
        bases=tuple(_rounded(arm.base_pos_m) for arm in card.arms),
        cameras=card.camera_names,
    )


def of_package(env: Any) -> Conventions:
    """What gym-aloha does, tried out on its environment after a reset; it is to be reset again."""
    task, physics = env._env.task, env._env.physics
    joints = _driven(physics)
    states = _measured(task, physics, joints)
    return Conventions(
        control_hz=round(1.0 / env._env.control_timestep(), _DIGITS),
        actions=_commanded(task, physics, joints),
        states=states,
        ranges=tuple(
            _rounded(limits)
            for joint, limits in zip(joints, physics.model.actuator_ctrlrange)
            if not joint.endswith("finger")
        ),
        fingers=(
            _command_ends(task, physics, joints),
            _measured_ends(task, physics, states.index("left_gripper")),
        ),
        bases=tuple(_rounded(physics.named.model.body_pos[f"vx300s_{side}"]) for side in ("left", "right")),
        cameras=tuple(env.observation_space["pixels"]),
    )


def _driven(physics: Any) -> list[str]:
    """The joint of each drive (A,): `vx300s_left/waist` is our `left_waist`."""
    names = [physics.model.id2name(joint, "joint") for joint in physics.model.actuator_trnid[:, 0]]
    return [name.removeprefix("vx300s_").replace("/", "_") for name in names]


def _channel(joint: str) -> str:
    """A gripper is called by its first finger."""
    return joint.replace("left_finger", "gripper")


def _told(task: Any, physics: Any, action: np.ndarray) -> np.ndarray:
    """What every drive is told (A,) by an action (D,)."""
    task.before_step(action, physics)
    told: np.ndarray = physics.data.ctrl.copy()
    return told


def _commanded(task: Any, physics: Any, joints: list[str]) -> tuple[str, ...]:
    count = len(task.get_qpos(physics))
    rest = _told(task, physics, np.zeros(count))
    first = [np.flatnonzero(_told(task, physics, one) != rest)[0] for one in np.eye(count)]
    return tuple(_channel(joints[drive]) for drive in first)


def _measured(task: Any, physics: Any, joints: list[str]) -> tuple[str, ...]:
    names: dict[int, str] = {}
    addresses = physics.model.jnt_qposadr[physics.model.actuator_trnid[:, 0]]
    for joint, address in zip(joints, addresses):
        before = task.get_qpos(physics)
        physics.data.qpos[address] += 0.01
        names |= {int(i): _channel(joint) for i in np.flatnonzero(task.get_qpos(physics) != before)}
    return tuple(names[i] for i in sorted(names))


def _command_ends(task: Any, physics: Any, joints: list[str]) -> tuple[float, ...]:
    count, finger = len(task.get_qpos(physics)), joints.index("left_left_finger")
    return _rounded(_told(task, physics, np.full(count, end))[finger] for end in (0.0, 1.0))


def _measured_ends(task: Any, physics: Any, number: int) -> tuple[float, ...]:
    """Where the finger is that this number of the state reads as 0 and as 1, from two places of it."""
    reading = []
    for place_m in (0.0, 1.0):
        physics.named.data.qpos["vx300s_left/left_finger"] = place_m
        reading.append(task.get_qpos(physics)[number])
    at_0, at_1 = reading
    return _rounded((end - at_0) / (at_1 - at_0) for end in (0.0, 1.0))


def _rounded(numbers: Any) -> tuple[float, ...]:
    return tuple(round(float(number), _DIGITS) for number in numbers)
