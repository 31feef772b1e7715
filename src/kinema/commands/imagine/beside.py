"""What happened above, what was imagined below: a run's film with the world model's next seconds under it.

Axes: N control steps, V views, H and W picture sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kinema.commands.imagine.imagine import SHIPPED_FOLDER, is_world
from kinema.schema import Imagines, KinemaError

_BAR_PX = 4  # between the two rows


def shipped_world() -> Path | None:
    """The folder of the world model that came with the package, if one did."""
    return SHIPPED_FOLDER if is_world(SHIPPED_FOLDER) else None


def imagined_along(
    imagines: Imagines, frames: Mapping[str, np.ndarray], instruction: str, card: Any, *, seed: int
) -> np.ndarray | None:
    """What was imagined of every step, uint8 (N, V, S, S, 3): from the first picture, then anew at each end.

    frames: uint8 (N, H, W, 3) by camera name, one per control step. None for a body it does not know.
    """
    steps = len(next(iter(frames.values())))
    parts: list[np.ndarray] = []
    begin = 0
    while begin < steps:
        now = {name: shots[begin] for name, shots in frames.items()}
        try:
            film = imagines.imagine(now, instruction, card.name, seed=seed)
        except KinemaError:
            return None
        every = card.control_hz / film.fps
        span = min(round((len(film.frames) - 1) * every), steps - begin)
        parts.append(film.frames[(np.arange(span) / every).astype(int)])
        begin += span
    return np.concatenate(parts)


def stacked(above: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    """uint8 (N, 2 H + bar, W, 3): pictures (N, H, W, 3) above, imagined views enlarged side by side below."""
    N, V, S = imagined.shape[:3]
    height, width = above.shape[1], above.shape[2] // V
    rows, columns = (np.arange(n) * S // n for n in (height, width))
    below = imagined[:, :, rows][:, :, :, columns]  # nearest pixels: plain what was imagined
    below = below.transpose(0, 2, 1, 3, 4).reshape(N, height, V * width, 3)
    bar = np.full((N, _BAR_PX, above.shape[2], 3), 255, np.uint8)
    return np.concatenate([above, bar, below], axis=1)
