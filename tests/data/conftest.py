"""Small data sets for the tests of the data layer: every number and every picture says where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.data.lerobot_write import Writer

SIZE = 32
LENGTHS = (7, 4, 9, 5)
TASKS = ("put the red block in the bowl", "open the drawer", "put the red block in the bowl", "push it")


def make_episode(number: int, length: int) -> dict[str, Any]:
    """An episode whose values are unlike those of any other; pictures are flat colours with a square."""
    card = load_card("panda")
    rng = np.random.default_rng(number)
    images = {}
    for view, camera in enumerate(card.camera_names):
        frames = np.full((length, SIZE, SIZE, 3), (40 + 20 * number, 60 + 80 * view, 90), np.uint8)
        for t in range(length):
            frames[t, 8:24, 2 + 2 * t : 10 + 2 * t] = (220, 30 + 10 * t, 40)
        images[camera] = frames
    vector = rng.normal(size=(3, length, len(card.actions))).astype(np.float32)
    return {
        "images": images,
        "state": rng.normal(size=(length, len(card.states))).astype(np.float32),
        "action": vector[0],
        "executed": vector[1],
        "points": rng.random((length, len(images), 2, 3)).astype(np.float32),
        "success": np.arange(length) == length - 1,
        "task": TASKS[number % len(TASKS)],
    }


@pytest.fixture(scope="session")
def episodes() -> list[dict[str, Any]]:
    return [make_episode(number, length) for number, length in enumerate(LENGTHS)]


@pytest.fixture
def new_writer(tmp_path: Path) -> Callable[..., Writer]:
    def make(root: Path | None = None, **options: Any) -> Writer:
        return Writer(root or tmp_path / "set", card=load_card("panda"), image_size=SIZE, **options)

    return make


@pytest.fixture(scope="session")
def recorded_once(tmp_path_factory: pytest.TempPathFactory, episodes: list[dict[str, Any]]) -> Path:
    root = tmp_path_factory.mktemp("recorded") / "set"
    with Writer(root, card=load_card("panda"), image_size=SIZE) as writer:
        for episode in episodes:
            writer.add_episode(**episode)
    return root


@pytest.fixture(scope="session")
def unfinished_once(tmp_path_factory: pytest.TempPathFactory, episodes: list[dict[str, Any]]) -> Path:
    """The same data set as it is when the recorder stops without `finalize`."""
    root = tmp_path_factory.mktemp("unfinished") / "set"
    writer = Writer(root, card=load_card("panda"), image_size=SIZE)
    for episode in episodes:
        writer.add_episode(**episode)
    return root
