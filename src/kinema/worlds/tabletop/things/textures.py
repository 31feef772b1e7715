"""Textures that are computed, not stored: grey patterns through which a thing's own colour is seen.

As cubes, six faces of SIDE_PX below each other, so that they wrap any primitive; and flat, for the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mujoco
import numpy as np

SIDE_PX = 64
_FACES = 6
_ON_TABLE = 7  # times along and across the table


def add_textures(spec: mujoco.MjSpec) -> None:
    """Each with a material of its name for things, and one named `table/...` for the table."""
    for name, make in _MAKERS.items():
        faces = [make(np.random.default_rng([face, len(name)]), face) for face in range(_FACES)]
        add_texture(spec, name, np.concatenate(faces), mujoco.mjtTexture.mjTEXTURE_CUBE)
        flat = add_texture(spec, f"table/{name}", faces[0], mujoco.mjtTexture.mjTEXTURE_2D)
        flat.texrepeat = [_ON_TABLE, _ON_TABLE]


def add_texture(
    spec: mujoco.MjSpec, name: str, pattern: np.ndarray, type: mujoco.mjtTexture
) -> mujoco.MjsMaterial:
    """A texture from grey values in [0, 1] (H, W), and a material of its name."""
    grey = np.clip(255 * pattern, 0, 255).astype(np.uint8)
    height, width = grey.shape
    texture = spec.add_texture(name=name, type=type, width=width, height=height, nchannel=3)
    texture.data = np.repeat(grey[..., None], 3, axis=2).tobytes()
    material = spec.add_material(name=name, specular=0.15, shininess=0.2)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    return material


def _axes() -> tuple[np.ndarray, np.ndarray]:
    return np.meshgrid(np.linspace(0, 1, SIDE_PX), np.linspace(0, 1, SIDE_PX))


def _clouds(rng: np.random.Generator, octaves: tuple[int, ...] = (4, 8, 16)) -> np.ndarray:
    """Smooth noise in [0, 1]."""
    total = np.zeros((SIDE_PX, SIDE_PX))
    at = np.linspace(0, 1, SIDE_PX)
    for cells in octaves:
        grid = rng.random((cells, cells))
        knots = np.linspace(0, 1, cells)
        rows = np.stack([np.interp(at, knots, row) for row in grid])
        total += np.stack([np.interp(at, knots, column) for column in rows.T], axis=1) / cells
    return (total - total.min()) / np.ptp(total)


def _grain(rng: np.random.Generator, face: int) -> np.ndarray:
    x, y = _axes()
    return 0.89 + 0.11 * np.sin(2 * np.pi * (5 * y + 1.0 * _clouds(rng) + 0.3 * x))


def _mottle(rng: np.random.Generator, face: int) -> np.ndarray:
    return 0.78 + 0.22 * _clouds(rng)


def _dots(rng: np.random.Generator, count: int, radius: float, dark: float) -> np.ndarray:
    x, y = _axes()
    centres = rng.random((count, 2))
    near = np.min([(x - a) ** 2 + (y - b) ** 2 for a, b in centres], axis=0)
    return np.where(near < radius**2, dark, 1.0)


def _speckle(rng: np.random.Generator, face: int) -> np.ndarray:
    return _dots(rng, 26, 0.035, 0.62)


def _holes(rng: np.random.Generator, face: int) -> np.ndarray:
    return _dots(rng, 30, 0.05, 0.72) * (0.92 + 0.08 * _clouds(rng))


def _stripes(rng: np.random.Generator, face: int) -> np.ndarray:
    _, y = _axes()
    return np.where((y * 9) % 1 < 0.5, 0.74, 1.0)


def _weave(rng: np.random.Generator, face: int) -> np.ndarray:
    x, y = _axes()
    return 0.84 + 0.16 * np.sign(np.sin(2 * np.pi * 11 * x) * np.sin(2 * np.pi * 11 * y))


def _tiles(rng: np.random.Generator, face: int) -> np.ndarray:
    x, y = _axes()
    joint = (np.minimum((x * 4) % 1, (y * 4) % 1) < 0.08).astype(float)
    return 1.0 - 0.35 * joint - 0.05 * _clouds(rng)


def _checks(rng: np.random.Generator, face: int) -> np.ndarray:
    x, y = _axes()
    return np.where(((x * 4).astype(int) + (y * 4).astype(int)) % 2, 0.70, 1.0)


def _rings(rng: np.random.Generator, face: int) -> np.ndarray:
    x, y = _axes()
    return 0.85 + 0.15 * np.sin(2 * np.pi * 9 * np.hypot(x - 0.5, y - 0.5))


def _print(rng: np.random.Generator, face: int) -> np.ndarray:
    """Lines as of text."""
    x, y = _axes()
    line = ((y * 8) % 1 < 0.4) & (np.abs(x - 0.5) < 0.1 + 0.3 * rng.random(9)[(y * 8).astype(int)])
    return np.where(line, 0.35, 1.0)


_PIPS: Mapping[int, tuple[tuple[float, float], ...]] = {
    1: ((0.5, 0.5),), 2: ((0.25, 0.25), (0.75, 0.75)), 3: ((0.22, 0.22), (0.5, 0.5), (0.78, 0.78)),
    4: tuple((a, b) for a in (0.26, 0.74) for b in (0.26, 0.74)),
    5: ((0.5, 0.5), *((a, b) for a in (0.24, 0.76) for b in (0.24, 0.76))),
    6: tuple((a, b) for a in (0.28, 0.72) for b in (0.22, 0.5, 0.78)),
}  # fmt: skip


def _pips(rng: np.random.Generator, face: int) -> np.ndarray:
    x, y = _axes()
    number = (1, 6, 2, 5, 3, 4)[face]  # opposite faces have seven
    near = np.min([(x - a) ** 2 + (y - b) ** 2 for a, b in _PIPS[number]], axis=0)
    return np.where(near < 0.09**2, 0.08, 1.0)


_MAKERS: Mapping[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "grain": _grain, "mottle": _mottle, "speckle": _speckle, "holes": _holes, "stripes": _stripes,
    "weave": _weave, "tiles": _tiles, "checks": _checks, "rings": _rings, "print": _print, "pips": _pips,
}  # fmt: skip
TEXTURES: tuple[str, ...] = tuple(_MAKERS)
