"""What the film detector finds in a film: where each nameable thing is in every frame of every view.

Axes: F frames, V views, K things.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kinema.schema import Film, KinemaError

SEEN_FROM = 0.5  # probability
SAID_FROM = (
    0.15  # of what is known to be in the scene, because a sentence names it or the first frame shows it
)
GRIPPERS = ("gripper", "left gripper")
_BUTTON, _PRESSED = "button", "pressed button"


class Eyes(Protocol):
    """A detector and encoder of single pictures, handed in from above. `version` goes with every number."""

    @property
    def things(self) -> tuple[str, ...]: ...

    @property
    def version(self) -> str: ...

    @property
    def error(self) -> Mapping[str, Any]: ...

    def locate(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (n, S, S, 3) to (n, K, 3): u, v in [0, 1] and the probability of being seen."""
        ...

    def features(self, pictures: np.ndarray) -> list[np.ndarray]:
        """uint8 (n, S, S, 3) to maps (n, h, w, C), from fine to coarse."""
        ...


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """points: float (F, V, K, 3): u, v and the probability of being seen."""

    things: tuple[str, ...]
    cameras: tuple[str, ...]
    points: np.ndarray

    def __post_init__(self) -> None:
        if self.points.ndim != 4 or self.points.shape[1:] != (len(self.cameras), len(self.things), 3):
            raise KinemaError(
                f"tracks of {len(self.cameras)} cameras and {len(self.things)} things need points "
                f"(F, V, K, 3); got {self.points.shape}"
            )

    def __len__(self) -> int:
        return len(self.points)

    def path(self, thing: str, camera: str, seen_from: float = SEEN_FROM) -> np.ndarray:
        """u, v (F, 2) of a thing in a view; NaN where it is seen with less than this probability."""
        found = self.points[:, self._view(camera), self._row(thing)]
        return np.where(found[:, 2:] >= seen_from, found[:, :2], np.nan)

    def probability(self, thing: str) -> np.ndarray:
        """(F,) of being seen in any view: the most sure of the views."""
        return self.points[:, :, self._row(thing), 2].max(1)

    def present(self, kind: str, camera: str, frames: slice = slice(0, 1)) -> tuple[str, ...]:
        """The things whose name ends in `kind` and that a view shows in most of some frames."""
        points = self.points[frames, self._view(camera)]
        share = (points[..., 2] >= SEEN_FROM).mean(0)
        return tuple(name for name, seen in zip(self.things, share) if seen > 0.5 and _is_kind(name, kind))

    def grippers(self, camera: str) -> np.ndarray:
        """Paths (F, A, 2) of the grippers the vocabulary has."""
        return np.stack([self.path(name, camera) for name in GRIPPERS if name in self.things], 1)

    def _row(self, thing: str) -> int:
        if thing not in self.things:
            raise KinemaError(
                f"the film detector does not know {thing!r}; it knows: {', '.join(self.things)}"
            )
        return self.things.index(thing)

    def _view(self, camera: str) -> int:
        if camera not in self.cameras:
            raise KinemaError(f"the film has no camera {camera!r}; it has: {', '.join(self.cameras)}")
        return self.cameras.index(camera)


def _is_kind(name: str, kind: str) -> bool:
    """Whether the noun is `kind`: "red pressed button" is no "button"."""
    if kind == _BUTTON and name.endswith(_PRESSED):
        return False
    return name.endswith(kind)


def track(film: Film, eyes: Eyes) -> Tracks:
    """Look at every picture of a film."""
    frames, views = film.frames.shape[:2]
    found = eyes.locate(film.frames.reshape(-1, *film.frames.shape[2:]))
    points = found.reshape(frames, views, *found.shape[1:]).astype(np.float64)
    return Tracks(things=eyes.things, cameras=film.cameras, points=points)
