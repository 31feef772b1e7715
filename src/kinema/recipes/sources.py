"""Where the recipes' demonstrations lie below the data folder, and how they are read."""

from __future__ import annotations

from pathlib import Path

from kinema.card.load import load_card
from kinema.data.lerobot import Dataset
from kinema.data.source import Source, from_dataset
from kinema.schema import KinemaError

TABLETOP, METAWORLD = "tabletop", "metaworld"


def tabletop_sources(data: Path, image_size: int, stride: int = 1) -> list[Source]:
    """One source per data set in data/tabletop and in data/tabletop_* (corrections, other rounds)."""
    return [_open(root, image_size, stride) for root in _datasets(data, TABLETOP)]


def metaworld_sources(data: Path, image_size: int, stride: int = 2) -> list[Source]:
    """Meta-World's 50 tasks: every LeRobot data set directly below data/metaworld."""
    return [_open(root, image_size, stride) for root in _datasets(data / METAWORLD, "metaworld")]


def _datasets(folder: Path, which: str) -> list[Path]:
    found = sorted(path.parent.parent for path in folder.glob("*/meta/info.json"))
    if not found:
        raise KinemaError(
            f"no data set below {folder}; make it with: kinema data make {which} --out {folder}"
        )
    return found


def _open(root: Path, image_size: int, stride: int) -> Source:
    dataset = Dataset.open(root)
    return from_dataset(dataset, load_card(dataset.card_name), image_size=image_size, stride=stride)
