"""Does what is seen obey the world? Checks on detected tracks, each the share of checked instants in order.

Things at rest are laid on the table by the camera that stands still. Where a second view sees the same
thing, its two rays give its height. A check that finds nothing to check is NaN and enters no mean.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from kinema.bench.metrics.geometry import Pinhole, triangulate
from kinema.bench.metrics.tracks import GRIPPERS, Tracks

_HALF_M = 0.0225  # of a block
_INTERPENETRATES_M = 0.028  # blocks of 4 to 5 cm whose centres are nearer than this share space
_RESTS_M = 0.004  # a step of less is rest
_HOLDS_UV = 0.16  # nearer to a gripper than this share of the picture, a thing may be held or hidden by it
_FLOATS_M = 0.045  # a middle higher than this above where a block or a stack of two rests
_SOLID, _LASTING = "block", ("block", "bowl", "plate", "area")


def permanence(tracks: Tracks, camera: str) -> float:
    """Things seen at first stay: the share of (thing, later frame) in which they are seen.

    Frames in which a gripper is where the thing was last seen are left out: it may hide it.
    """
    kept = checked = 0
    for kind in _LASTING:
        for name in tracks.present(kind, camera):
            path, grippers = tracks.path(name, camera), tracks.grippers(camera)
            last = path[0]
            for frame in range(1, len(tracks)):
                seen = bool(np.isfinite(path[frame]).all())
                if seen:
                    last = path[frame]
                elif _near(grippers[frame], last):
                    continue
                kept += seen
                checked += 1
    return kept / checked if checked else float("nan")


def no_penetration(tracks: Tracks, camera: str, pinhole: Pinhole) -> float:
    """Two blocks at rest never share space: the share of (pair, frame) in which their middles are apart."""
    apart = checked = 0
    ground = {name: _ground(tracks, name, camera, pinhole) for name in tracks.present(_SOLID, camera)}
    for one, other in combinations(ground.values(), 2):
        still = _at_rest(one) & _at_rest(other)
        distance = np.linalg.norm(one - other, axis=1)[still]
        apart += int((distance > _INTERPENETRATES_M).sum())
        checked += len(distance)
    return apart / checked if checked else float("nan")


def gravity(tracks: Tracks, camera: str, pinhole: Pinhole, wrist: str, wrist_poses: list[Pinhole]) -> float:
    """What no gripper holds rests on something: the share of (block, frame) that does not float.

    The height comes from both views, with the poses of the moving camera, one per frame.
    """
    resting = checked = 0
    for name in tracks.present(_SOLID, camera):
        path, seen_by_wrist = tracks.path(name, camera), tracks.path(name, wrist)
        for frame, pose in enumerate(wrist_poses):
            both = np.isfinite(path[frame]).all() and np.isfinite(seen_by_wrist[frame]).all()
            if not both or _near(tracks.grippers(camera)[frame], path[frame]):
                continue
            place, _ = triangulate(pinhole, path[frame], pose, seen_by_wrist[frame])
            resting += bool(place[2] - 3 * _HALF_M < _FLOATS_M)
            checked += 1
    return resting / checked if checked else float("nan")


def inertia(tracks: Tracks, camera: str, pinhole: Pinhole) -> float:
    """Nothing moves by itself: the share of (block, step) away from every gripper in which it stays put."""
    still = checked = 0
    for name in tracks.present(_SOLID, camera):
        path, ground = tracks.path(name, camera), _ground(tracks, name, camera, pinhole)
        for frame in range(1, len(tracks)):
            known = np.isfinite(ground[frame - 1 : frame + 1]).all()
            near = any(_near(tracks.grippers(camera)[f], path[f]) for f in (frame - 1, frame))
            if known and not near:
                still += bool(np.linalg.norm(ground[frame] - ground[frame - 1]) < 3 * _RESTS_M)
                checked += 1
    return still / checked if checked else float("nan")


def view_distances(
    tracks: Tracks, camera: str, pinhole: Pinhole, wrist: str, wrist_poses: list[Pinhole], window: int = 0
) -> np.ndarray:
    """How far apart [m] the two views' rays to the same thing pass: one number per thing and frame.

    The moving camera is where it truly was. An imagined arm may be early or late: with a `window`, the pose
    within so many frames that fits all of a frame's things best is taken.
    """
    names = [n for n in tracks.things if n not in GRIPPERS]
    first = np.stack([tracks.path(name, camera) for name in names], 1)  # (F, K, 2)
    second = np.stack([tracks.path(name, wrist) for name in names], 1)
    found: list[float] = []
    for frame in range(len(tracks)):
        both = np.flatnonzero(np.isfinite(first[frame]).all(1) & np.isfinite(second[frame]).all(1))
        if not len(both):
            continue
        poses = wrist_poses[max(0, frame - window) : frame + window + 1]
        options = [
            [triangulate(pinhole, first[frame, k], pose, second[frame, k])[1] for k in both] for pose in poses
        ]
        found += min(options, key=sum)
    return np.array(found)


def _ground(tracks: Tracks, name: str, camera: str, pinhole: Pinhole) -> np.ndarray:
    """Where a block's track lies on the table (F, 2) [m]."""
    return pinhole.at_height(tracks.path(name, camera), _HALF_M)[:, :2]


def _at_rest(ground: np.ndarray) -> np.ndarray:
    """(F,) known, and not moving since the frame before or until the next."""
    step = np.linalg.norm(np.diff(ground, axis=0), axis=1)
    still = np.nan_to_num(step, nan=np.inf) < _RESTS_M
    rest = np.concatenate([still[:1], still[1:] & still[:-1], still[-1:]])
    return rest & np.isfinite(ground).all(1)


def _near(grippers: np.ndarray, point: np.ndarray) -> bool:
    """Whether any gripper (A, 2) is near a point (2,) of the picture; an unseen gripper is near nothing."""
    distance = np.linalg.norm(grippers - point, axis=-1)
    return bool((np.nan_to_num(distance, nan=np.inf) < _HOLDS_UV).any())
