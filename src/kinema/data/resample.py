"""From a data set's rate to a card's: which of its rows, or what between them, a control step is.

An action is a target that is due one step after it is given, whatever the rate. So step k of a window that
begins at row p is due (k + 1) control periods later, which is row p + (k + 1) r - 1 for r rows a period:
poses are read there, between two rows where need be (rotations along the shortest arc); velocities are the
mean of what was commanded meanwhile, so that the way is kept; grippers hold the last command given in the
period, since half an order to close is none. With r = 1 this is row p + k itself.

Axes: n windows, H steps, D channels, N rows of the data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from kinema.card.card import Channel
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix

_EPS = 1e-6  # of a row: what rates like 29.97 round to

Kind = Literal["blend", "hold", "mean"]


def kind_of(channel: Channel) -> Kind:
    """How a channel is read between rows. Raises KinemaError where no other rate is defined."""
    if channel.unit == "normalised":
        raise KinemaError(
            f"channel {channel.name!r} is normalised: a command for one control step has no meaning at "
            f"another rate; use a set of the card's own rate"
        )
    if channel.unit in ("m/s", "rad/s"):
        return "mean"
    return "hold" if channel.unit == "fraction" or channel.slot.endswith(".gripper") else "blend"


class Resampler:
    """Reads rows of these channels at `ratio` rows for each control step (the set's rate over the card's)."""

    def __init__(self, channels: Sequence[Channel], ratio: float) -> None:
        self.ratio = ratio
        kinds = [kind_of(channel) for channel in channels]
        rotations = _rotation_triples(channels)
        turned = {column for triple in rotations for column in triple}
        self._rotations = [np.array(triple) for triple in rotations]
        of: dict[Kind, list[int]] = {"blend": [], "hold": [], "mean": []}
        for column, kind in enumerate(kinds):
            if column not in turned:
                of[kind].append(column)
        self._of = {kind: np.array(columns, int) for kind, columns in of.items()}
        # two values farther apart than this are not blended: an angle that wrapped, not a way
        self._jump = np.array([(c.range[1] - c.range[0]) / 2 for c in channels])

    def windows(
        self, values: np.ndarray, position: np.ndarray, begin: np.ndarray, end: np.ndarray, steps: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Actions (n, H, D) due in each of `steps` control steps from position (n,), and bool (n, H): real.

        position: rows, between two where need be; begin, end (n,): the first row and one past the last that
        may be read. What lies beyond the end repeats the last value.
        """
        edges = position[:, None] + np.arange(steps + 1) * self.ratio
        return self.between(values, edges, begin, end), edges[:, 1:] - 1 <= end[:, None] - 1 + _EPS

    def between(
        self, values: np.ndarray, edges: np.ndarray, begin: np.ndarray, end: np.ndarray,
        lasts: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Actions (n, H, D) due at the end of each control step; edges (n, H + 1): rows where steps meet.

        lasts: how long each row (N,) lasts; None: all as long
        """
        last = end[:, None] - 1
        out = self.poses(values, edges[:, 1:] - 1, begin, end)
        held = np.clip(np.ceil(edges[:, 1:] - _EPS).astype(np.int64) - 1, begin[:, None], last)
        out[..., self._of["hold"]] = values[held][..., self._of["hold"]]
        if len(mean := self._of["mean"]):
            inside = np.clip(edges, begin[:, None], end[:, None])
            lasts = np.ones(len(values)) if lasts is None else lasts
            out[..., mean] = _means(values[:, mean], inside, last, lasts)
        return out

    def poses(self, values: np.ndarray, at: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Rows (n, H, D) read at `at` (n, H), between two where need be; what is held, at the earlier one."""
        first, last = begin[:, None], end[:, None] - 1
        at = np.clip(at, first, last)
        low = np.floor(at + _EPS).astype(np.int64)
        high = np.minimum(low + 1, last)
        share = np.maximum(at - low, 0.0)[..., None]
        a, b = values[low].astype(np.float64), values[high].astype(np.float64)
        out = a.copy()
        for columns in (self._of["blend"], self._of["mean"]):
            x, y = a[..., columns], b[..., columns]
            near = np.where(share < 0.5, x, y)
            out[..., columns] = np.where(np.abs(y - x) > self._jump[columns], near, x + share * (y - x))
        for triple in self._rotations:
            R_a = matrix_from_rotvec(a[..., triple])
            turn = rotvec_from_matrix(np.swapaxes(R_a, -1, -2) @ matrix_from_rotvec(b[..., triple]))
            blended = rotvec_from_matrix(R_a @ matrix_from_rotvec(share * turn))
            out[..., triple] = np.where(share < _EPS, a[..., triple], blended)
        return out


def _means(values: np.ndarray, edges: np.ndarray, last: np.ndarray, lasts: np.ndarray) -> np.ndarray:
    """Means (n, H, d) of held values (N, d) between neighbouring edges (n, H + 1); past the end the last.

    lasts: how long each row (N,) lasts
    """
    held = np.concatenate([values * lasts[:, None], lasts[:, None]], axis=1)
    total = np.concatenate([np.zeros((1, held.shape[1])), held.cumsum(0, np.float64)])
    low = np.minimum(np.floor(edges).astype(np.int64), last)
    integral = total[low] + (edges - low)[..., None] * held[low]
    width = np.diff(integral[..., -1:], axis=1)
    integral = integral[..., :-1]
    mean = np.diff(integral, axis=1) / np.maximum(width, _EPS)
    beyond = np.broadcast_to(values[last[:, 0]][:, None], mean.shape)
    return np.where(width > _EPS, mean, beyond)


def _rotation_triples(channels: Sequence[Channel]) -> list[list[int]]:
    """Columns of each rotation vector: an arm's rot.0, rot.1 and rot.2 where there are no more."""
    triples = []
    for side in ("left", "right"):
        of = {c.slot: i for i, c in enumerate(channels) if c.slot.startswith(f"{side}.rot.")}
        if sorted(of) == [f"{side}.rot.{i}" for i in range(3)]:
            triples.append([of[slot] for slot in sorted(of)])
    return triples
