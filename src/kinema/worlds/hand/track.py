"""Where a hand goes in a film: the hand model is moved until its outline is the one that was seen.

The outline that was seen is what differs from the film's still background (the median over time), in the
table's two calibrated views. Per frame a pattern search from the last place maximises how well the two
outlines overlap; the forearm's direction is found once per film. It knows hands of this size and pose only,
and says so of a film in which it does not find one.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from kinema.schema import KinemaError
from kinema.worlds.hand.hand import HOME_M, OPEN_M
from kinema.worlds.hand.retarget import GraspPath
from kinema.worlds.hand.stage import VIEWS, HandWorld

NEEDED = (
    "a film can be tracked when the table's two cameras (worlds/hand/stage.py) stand still and show the "
    "hand of worlds/hand/hand.py, and when every place in the picture is free of the hand for more than half "
    "of the time"
)
_DIFFERS = 22  # of 255, in any colour
_MOVES = 0.005  # of a view's pixels on average; a hand at work covers 0.04 to 0.12
# Median over the film. Wrong views and other things that move reach 0.0 to 0.4. The hand's own films, at 32
# px, are found 7 to 40 mm off below 0.5 (the hand hides its background too long) and 3 to 22 mm above.
_OVERLAP = 0.5
_NOTHING_M = 5.0
_STEPS_M = (0.024, 0.012, 0.006, 0.003)
_GAPS_M = (0.0, 0.04, OPEN_M)
_CLOSED_BELOW_M = 0.06
_FINGERS_LAG = 3  # control steps from when fingers are told to move to when it shows
_YAWS_RAD = (-0.6, -0.3, 0.0, 0.3, 0.6)


class UntrackedError(KinemaError):
    """A film in which the hand is not found."""


class HandTracker:
    """Fits the hand model to films of S x S pictures. Holds one compiled world and its renderer."""

    def __init__(self, image_size: int) -> None:
        self._world = HandWorld(family="button", image_size=image_size)
        self._world.reset(0)
        self._world.show_only_hand()
        self._handle = self._world.scene.robot.arm("right")

    def track(self, film: Mapping[str, np.ndarray], hz: float = 10.0) -> GraspPath:
        """The grasp frame's way through a film: uint8 (T, S, S, 3) by view, `hz` pictures per second.

        Raises KinemaError when a view is missing, UntrackedError when nothing moves or what moves is not the
        hand.
        """
        if missing := [view for view in VIEWS if view not in film]:
            raise KinemaError(
                f"a hand is tracked in the views {', '.join(VIEWS)}; lacking {', '.join(missing)}"
            )
        seen = {view: outline(film[view]) for view in VIEWS}
        if still := [view for view, masks in seen.items() if masks.mean() < _MOVES]:
            raise UntrackedError(f"nothing moves in the view {' and '.join(still)}; {NEEDED}")
        steps = len(seen[VIEWS[0]])
        self._choose_forearm({view: mask[steps // 2] for view, mask in seen.items()})
        place, speed, gap_m = np.array(HOME_M), np.zeros(3), OPEN_M
        places, gaps, overlaps = [], [], []
        for step in range(steps):
            masks = {view: mask[step] for view, mask in seen.items()}
            found = self._search(masks, place + speed, gap_m)
            scores = {gap: self._overlap(masks, found, gap) for gap in _GAPS_M}
            gap_m = max(scores, key=lambda gap: scores[gap])
            overlaps.append(scores[gap_m] / len(VIEWS))
            speed, place = 0.5 * (found - place) if step else speed, found
            places.append(found)
            gaps.append(gap_m)
            if sum(overlap < _OVERLAP for overlap in overlaps) > steps / 2:  # more pictures mend no median
                break
        if np.median(overlaps) < _OVERLAP:
            raise UntrackedError(
                f"what moves in the film is not the hand that is known: their outlines overlap by "
                f"{np.median(overlaps):.0%} (needed: {_OVERLAP:.0%}); {NEEDED}"
            )
        gap = _median(np.array(gaps))
        told = np.pad(gap > _CLOSED_BELOW_M, (0, _FINGERS_LAG), mode="edge")[_FINGERS_LAG:]
        return GraspPath(position_m=np.stack(places), opening=told.astype(float), gap_m=gap, hz=hz)

    def close(self) -> None:
        self._world.close()

    def _choose_forearm(self, masks: Mapping[str, np.ndarray]) -> None:
        scores = {}
        for yaw in _YAWS_RAD:
            self._world.turn_forearm(yaw)
            place = self._search(masks, np.array([0.46, 0.0, 0.10]), OPEN_M, steps_m=(0.08, 0.04, 0.02, 0.01))
            scores[yaw] = self._overlap(masks, place, OPEN_M)
        self._world.turn_forearm(max(scores, key=lambda yaw: scores[yaw]))

    def _search(
        self,
        masks: Mapping[str, np.ndarray],
        start: np.ndarray,
        gap_m: float,
        steps_m: tuple[float, ...] = _STEPS_M,
    ) -> np.ndarray:
        place, best = start, self._overlap(masks, start, gap_m)
        for step in steps_m:
            back: np.ndarray | None = None  # where it has just come from overlaps less
            for _ in range(4):
                ways = [sign * axis for axis in np.eye(3) for sign in (-1, 1)]
                ways = [way for way in ways if back is None or (way != back).any()]
                scores = [self._overlap(masks, place + step * way, gap_m) for way in ways]
                if max(scores) <= best:
                    break
                way = ways[int(np.argmax(scores))]
                place, best, back = place + step * way, max(scores), -way
        return place

    def _overlap(self, masks: Mapping[str, np.ndarray], place: np.ndarray, gap_m: float) -> float:
        """Intersection over union of the hand's outline at this place with the seen one, over all views."""
        scene = self._world.scene
        scene.robot.set_joints(scene.data, self._handle, place, gripper=gap_m / OPEN_M)
        mujoco.mj_kinematics(scene.model, scene.data)
        mujoco.mj_camlight(scene.model, scene.data)
        score = 0.0
        for view, depth in self._world.depths().items():
            hand, mask = depth < _NOTHING_M, masks[view]
            score += float((hand & mask).sum()) / max(1.0, float((hand | mask).sum()))
        return score


def outline(frames: np.ndarray) -> np.ndarray:
    """What is not background: bool (T, S, S) of uint8 frames (T, S, S, 3)."""
    return np.abs(frames.astype(np.int16) - background(frames).astype(np.int16)).max(-1) > _DIFFERS


def background(frames: np.ndarray) -> np.ndarray:
    """What stays: the median over time, uint8 (S, S, 3). A thing that is moved leaves a ghost for a while."""
    return np.median(frames, axis=0).astype(np.uint8)


def _median(values: np.ndarray, width: int = 5) -> np.ndarray:
    padded = np.pad(values, width // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)
