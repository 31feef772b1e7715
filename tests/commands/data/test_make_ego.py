"""`kinema data make ego`: a LeRobot set of a person's hand that a mixture takes as its kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from kinema.card.load import load_card
from kinema.commands.data.made import MADE, Told
from kinema.data.lerobot import Dataset
from kinema.data.shares import PUBLISHED, weighed
from kinema.data.source import from_dataset
from kinema.data.verify import verify


def test_it_is_a_sound_set_of_kind_ego(tmp_path: Path) -> None:
    told = Told(out=tmp_path, episodes=1, bodies=(), names=("button", "pick_place"), size_px=48)
    MADE["ego"].make(told)
    assert verify(tmp_path / "ego") == []
    dataset = Dataset.open(tmp_path / "ego")
    assert len(dataset.episode_bounds) == 2
    assert dataset.camera_names == ("head",)
    assert np.abs(np.diff(dataset.state[:20, 6:], axis=0)).max() > 0  # fingers move
    source = replace(from_dataset(dataset, load_card("ego"), image_size=48), kind="ego")
    (alone,) = weighed([source])
    assert alone.weight == PUBLISHED["ego"]
