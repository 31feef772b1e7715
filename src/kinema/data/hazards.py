"""Shards of labelled chunks on disk: one .npz of plain arrays per body and run of seeds, without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kinema.schema import KinemaError

FIELDS = (
    "images", "earlier", "state", "heights", "actions", "severity", "tool_m", "thing_m", "thing_now_m",
    "progress", "kind", "seed", "step", "intruder", "visible_px", "instruction",
)  # fmt: skip
SCENE_FIELDS = ("images", "earlier", "state", "heights", "instruction")
# what of a shard is kept in half precision: lengths [m] and severities need no more
_HALF = ("heights", "severity", "tool_m", "thing_m", "progress")


def write_shard(path: Path, samples: Sequence[Mapping[str, Any]]) -> None:
    """Write the samples (FIELDS each, or SCENE_FIELDS where nothing was tried) whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [name for name in FIELDS if name in samples[0]]
    arrays = {name: np.stack([np.asarray(sample[name]) for sample in samples]) for name in names}
    arrays |= {n: np.clip(arrays[n], -6e4, 6e4).astype(np.float16) for n in _HALF if n in arrays}
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(path)


def read_shards(folder: Path, card: str, fields: Sequence[str] = FIELDS) -> dict[str, np.ndarray]:
    """All samples of one body, (N, ...) by field. Raises KinemaError when there are none."""
    paths = sorted(path for path in (folder / card).glob("*.npz") if not path.name.endswith(".partial.npz"))
    if not paths:
        raise KinemaError(f"no labelled chunks in {folder / card}; make them with: kinema data make hazards")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in fields}
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            for name in fields:
                parts[name].append(file[name] if name in file else _unknown(name, len(file["seed"])))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def read_bodies(folder: Path, fields: Sequence[str] = FIELDS) -> dict[str, dict[str, np.ndarray]]:
    """All samples of every body below a folder, by its name; empty where there are none."""
    return {name: read_shards(folder, name, fields) for name in bodies(folder)}


def _unknown(name: str, count: int) -> np.ndarray:
    """What an older shard does not tell."""
    if name != "visible_px":
        raise KinemaError(f"a shard lacks {name!r}; make the data again")
    return np.full(count, -1)


def bodies(folder: Path) -> tuple[str, ...]:
    """The bodies that a folder has shards of."""
    return tuple(sorted(path.name for path in folder.glob("*") if any(path.glob("*.npz"))))
