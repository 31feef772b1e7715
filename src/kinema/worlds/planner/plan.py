"""Trajectories by the batch from a card alone: no physics, no pictures, no limit of the card ever broken.

Courses (`templates.py`) become joint paths by inverse kinematics, and joint paths motions at a pace that the
joints' speeds and accelerations allow (`spline.py`). What the arm cannot reach, and what would leave a range
or the workspace, is left out.

Axes: n trajectories, L control points, F frames on end, D an arm's joints and its opening, arm after arm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import home_joints
from kinema.schema import KinemaError
from kinema.worlds.planner.body import Body
from kinema.worlds.planner.inverse import CLOSE_M, followed, reached
from kinema.worlds.planner.spline import at_rest, frames, shortest_knot_s
from kinema.worlds.planner.templates import POINTS, TEMPLATES, Room, Template, progress

_LEAST_ROWS, _MOST_ROWS = 8, 256  # courses of one template at a time
_PACE = (1.02, 4.0)  # how many times its shortest time a motion takes
_LONGEST_S = 20.0
_LEAST_REACHED = 0.02  # of what is asked of a body, below which it is given up
_TRIED, _FEWEST = 500, 20  # places of a box that an arm is asked to reach, and the fewest that it must


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Trajectories of one body. An action is the pose of the frame after, the last one that of its own."""

    joints: np.ndarray  # float64 (F, D)
    state: np.ndarray  # float32 (F, state channels)
    action: np.ndarray  # float32 (F, action channels)
    ends: np.ndarray  # int64 (n,): one past the last frame of each
    sentences: tuple[str, ...]  # n


def plan(card: EmbodimentCard, count: int, seed: int = 0) -> Planned:
    """So many trajectories of a body, of the templates by turns; the same for the same seed.

    Raises KinemaError for a body whose actions are no poses, and for one that hardly reaches anything.
    """
    body, rng = Body(card), np.random.default_rng(seed)
    rooms = [_room(body, which, rng) for which in range(len(card.arms))]
    turns = len(TEMPLATES) * len(_moving(card))  # after which every template has had every choice of arms
    rows = min(_MOST_ROWS, max(_LEAST_ROWS, -(-count // turns)))
    parts: list[Planned] = []
    found = rounds = 0
    while found < count:
        part = _round(body, rooms, rng, rounds, rows)
        rounds += 1
        if len(part.ends):
            parts.append(part)
            found += len(part.ends)
        if rounds >= turns and found < _LEAST_REACHED * rounds * rows:
            raise KinemaError(f"{card.name!r} hardly reaches anything within its card's workspace")
    return _joined(parts, count)


def _moving(card: EmbodimentCard) -> list[tuple[bool, ...]]:
    """Which arms may move: the only one; or each of two, and both."""
    return [(True,)] if len(card.arms) == 1 else [(True, False), (False, True), (True, True)]


def _room(body: Body, which: int, rng: np.random.Generator) -> Room:
    """Where an arm of a body reaches, tried at so many places. Raises KinemaError where hardly anywhere."""
    box_m = body.boxes_m[which]
    tried_m = np.round(rng.uniform(box_m[:, 0], box_m[:, 1], (_TRIED, 3)), 2)
    arm = body.card.arms[which]
    home = np.broadcast_to(home_joints(arm), (_TRIED, len(arm.joints)))
    _, off_m = reached(arm, body.robot_m(tried_m), home)
    if (off_m < CLOSE_M).sum() < _FEWEST:
        raise KinemaError(
            f"the {arm.side} arm of {body.card.name!r} reaches hardly anything in its workspace"
        )
    return Room(box_m=box_m, places_m=tried_m[off_m < CLOSE_M])


def _round(body: Body, rooms: Sequence[Room], rng: np.random.Generator, number: int, rows: int) -> Planned:
    """What comes of so many courses of one template for each arm that moves."""
    arms, templates = body.card.arms, list(TEMPLATES.values())
    choices = _moving(body.card)
    moving = choices[number // len(templates) % len(choices)]
    paths: list[np.ndarray] = []
    said: list[list[str]] = []
    well = np.ones(rows, bool)
    for i, arm in enumerate(arms):
        template = templates[number % len(templates) if not said else rng.integers(len(templates))]
        path, sentences, reaches = _of_arm(body, i, rooms[i], rng, rows, template if moving[i] else None)
        paths.append(path)
        well &= reaches
        if moving[i]:
            named = "" if len(arms) == 1 else f"with the {arm.side} arm, "
            said.append([named + sentence for sentence in sentences])
    control = at_rest(np.concatenate(paths, 2))
    knot_s = shortest_knot_s(control, body.velocity, body.acceleration)
    knot_s *= np.exp(rng.uniform(math.log(_PACE[0]), math.log(_PACE[1]), rows))
    well &= knot_s * control.shape[1] < _LONGEST_S
    sentences = ["; ".join(parts) for parts in zip(*said)]
    return _played(body, control[well], knot_s[well], [sentences[i] for i in np.flatnonzero(well).tolist()])


def _of_arm(
    body: Body, which: int, room: Room, rng: np.random.Generator, rows: int, template: Template | None
) -> tuple[np.ndarray, Sequence[str], np.ndarray]:
    """An arm's path (n, L, joints and opening), what was asked (n), and bool (n,): it gets where it should.

    template: of what it does; None: it rests at home
    """
    arm = body.card.arms[which]
    home = np.broadcast_to(home_joints(arm), (rows, len(arm.joints)))
    if template is None:
        still = np.column_stack([home, np.ones(rows)])
        return np.repeat(still[:, None], POINTS, 1), [], np.ones(rows, bool)
    start_m = room.anywhere(rng, rows)
    course = template(rng, start_m, room)
    joints, off_m = reached(arm, body.robot_m(start_m), home)
    if course.way == "tool":
        path, further_off_m = followed(arm, body.robot_m(course.tool_m), joints)
    else:
        goal, further_off_m = home, np.zeros(rows)
        if course.way == "joints":
            goal, further_off_m = reached(arm, body.robot_m(course.tool_m[:, -1]), joints)
        share = progress(np.linspace(0, 1, POINTS))[:, None]
        path = joints[:, None] + share * (goal - joints)[:, None]
    reaches = np.maximum(off_m, further_off_m) < CLOSE_M
    return np.concatenate([path, course.opening[..., None]], 2), course.sentences, reaches


def _played(body: Body, control: np.ndarray, knot_s: np.ndarray, sentences: Sequence[str]) -> Planned:
    """The frames of those paths whose every frame is allowed."""
    if not len(control):
        empty = np.zeros((0, control.shape[2]))
        return Planned(joints=empty, state=empty, action=empty, ends=np.zeros(0, np.int64), sentences=())
    motion, ends = frames(control, knot_s, 1 / body.card.control_hz)
    state, pose, allowed = body.native(motion)
    begins = np.append(0, ends[:-1])
    keep = np.logical_and.reduceat(allowed, begins)
    after = np.arange(len(motion)) + 1
    after[ends - 1] = ends - 1
    kept = np.repeat(keep, ends - begins)
    return Planned(
        joints=motion[kept], state=state[kept].astype(np.float32),
        action=pose[after][kept].astype(np.float32), ends=np.cumsum((ends - begins)[keep]),
        sentences=tuple(sentences[i] for i in np.flatnonzero(keep).tolist()),
    )  # fmt: skip


def _joined(parts: Sequence[Planned], count: int) -> Planned:
    """The first so many of them all."""
    before = np.cumsum([0, *(len(part.joints) for part in parts)])
    ends = np.concatenate([part.ends + at for part, at in zip(parts, before)])[:count]
    joints, state, action = (
        np.concatenate([getattr(part, name) for part in parts])[: ends[-1]]
        for name in ("joints", "state", "action")
    )
    sentences = tuple(sentence for part in parts for sentence in part.sentences)[:count]
    return Planned(joints=joints, state=state, action=action, ends=ends, sentences=sentences)
