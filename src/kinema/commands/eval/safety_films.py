"""The worst misses and false stops on film, with the course that was foreseen and the one that came true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema.bench.video import video_suffix, write_video
from kinema.model.gate.gate import Gate
from kinema.model.gate.samples import BodySamples

_SCALE = 4  # of the stored pictures
_TRUE_RGB, _FORESEEN_RGB = (60, 200, 90), (255, 140, 20)


def make_films(
    gate: Gate, stored: Sequence[BodySamples], cases: Sequence[Mapping[str, Any]], out: Path, name: str
) -> list[Path]:
    """One short film per case, in their order: the two courses drawn step by step over the pictures."""
    out.mkdir(parents=True, exist_ok=True)
    sizes = np.cumsum([0] + [len(body) for body in stored])
    films = []
    for number, case in enumerate(cases):
        which = int(np.searchsorted(sizes, case["state"], "right")) - 1
        frames = _frames(gate, stored[which], int(case["state"] - sizes[which]), int(case["chunk"]))
        path = out / f"{name}_{number}{video_suffix()}"
        write_video(path, frames, 5.0)
        films.append(path)
    return films


@torch.inference_mode()
def _frames(gate: Gate, body: BodySamples, row: int, chunk: int) -> np.ndarray:
    """uint8 (T + 4, H, V * W, 3)."""
    batch = body.batch(np.array([row]))
    _, foreseen = gate.artifact.model(batch.scenes, batch.path)
    told = foreseen.tool_m.mean(0)[0, chunk].numpy()  # (T, A, 3)
    true = batch.tool_m[0, chunk].numpy()
    pictures = np.stack([p.repeat(_SCALE, 0).repeat(_SCALE, 1) for p in body["images"][row]])
    views = body.reader.paths.views(body["state"][row].astype(np.float64))
    mask = body.reader.paths.arm_mask
    frames = []
    for t in range(len(true)):
        for picture, pose, focal in zip(pictures, views.pose, views.focal):
            for course, rgb in ((true, _TRUE_RGB), (told, _FORESEEN_RGB)):
                for arm in np.flatnonzero(mask):
                    _dot(picture, pose @ np.append(course[t, arm], 1.0), float(focal), rgb)
        frames.append(np.concatenate(list(pictures), axis=1))
    return np.stack(frames + [frames[-1]] * 4)


def _dot(picture: np.ndarray, local: np.ndarray, focal: float, rgb: tuple[int, int, int]) -> None:
    """Mark a point given in the camera's frame (3,)."""
    if local[2] > -1e-3:
        return
    size = picture.shape[0]
    u, v = 0.5 + 0.5 * focal * local[0] / -local[2], 0.5 - 0.5 * focal * local[1] / -local[2]
    column, line, radius = int(u * size), int(v * size), size // 60
    if radius <= column < size - radius and radius <= line < size - radius:
        picture[line - radius : line + radius + 1, column - radius : column + radius + 1] = rgb
