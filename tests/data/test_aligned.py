from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kinema.data.aligned import AlignedClips, clip_frames, reduced
from kinema.schema import KinemaError


def test_clips_stay_in_their_episode_and_hold_its_last_frame() -> None:
    dataset = SimpleNamespace(episode_bounds=np.array([[0, 100], [100, 120]]))
    clips = clip_frames(dataset, frames=13, every=3, starts_per_episode=3)  # type: ignore[arg-type]
    assert clips.shape[1] == 13
    np.testing.assert_array_equal(clips[0], np.arange(0, 39, 3))
    short = clips[clips[:, 0] >= 100]
    assert short.max() == 119
    assert np.all(np.diff(clips) >= 0)
    assert {int(row[0]) for row in short} >= {100}


def test_reducing_keeps_the_mean_and_refuses_what_does_not_divide() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 3, 48, 48, 3), np.uint8)
    small = reduced(pictures, 16)
    assert small.shape == (2, 3, 16, 16, 3)
    np.testing.assert_allclose(small.mean((-3, -2)), pictures.mean((-3, -2)), atol=0.5)
    with pytest.raises(KinemaError, match="48 px cannot be averaged to 36 px"):
        reduced(pictures, 36)


def test_clips_of_another_form_are_refused(tmp_path: Path) -> None:
    frames = np.zeros((2, 3, 13, 2, 8, 8, 3), np.uint8)
    with pytest.raises(KinemaError, match="2 aligned clips have 1 instructions"):
        AlignedClips(frames=frames, instructions=("a",), robots=("x", "y"), views=("front", "side"), fps=3.3)
    with pytest.raises(KinemaError, match="uint8"):
        AlignedClips(
            frames=frames[:, :2], instructions=("a", "b"), robots=("x", "y"), views=("front",), fps=3.3
        )
