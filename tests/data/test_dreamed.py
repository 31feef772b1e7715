"""Dreams as episodes: what is left out and why, and how pictures and rows belong together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.data.dreamed import DREAMED, DreamLimits, episode, faults
from kinema.data.lerobot import Dataset
from kinema.data.lerobot_write import Writer
from kinema.data.source import from_dataset
from kinema.schema import Film
from kinema.space.motion import Motion, intervals_of_motion, steps_between, targets_along

PANDA, UR5E = load_card("panda"), load_card("ur5e")
F, N = 5, 3


def motion(states: np.ndarray, drift: float = 0.01, card: str = "panda") -> Motion:
    body = load_card(card)
    return Motion(
        card=card,
        states=states,
        actions=targets_along(body, states, N),
        drift=np.full(len(states) - 1, drift),
        fps=10 / 3,
        control_hz=10.0,
    )


def reaching() -> np.ndarray:
    """Tool states (F, 7) that move 12 cm down in 1.2 s."""
    states = np.tile([0.45, 0.0, 0.30, 0, 0, 0, 1.0], (F, 1))
    states[:, 2] -= np.linspace(0, 0.12, F)
    return states


def film(moving: int = F - 1) -> Film:
    """Pictures that change for so many intervals and then stand still."""
    shade = np.minimum(np.arange(F), moving).astype(np.uint8) * 20
    frames = np.zeros((F, 2, 16, 16, 3), np.uint8) + shade[:, None, None, None, None]
    return Film(
        frames=frames,
        cameras=PANDA.camera_names,
        fps=10 / 3,
        card="panda",
        instruction="press the red button",
    )


def test_a_plain_motion_has_no_faults() -> None:
    assert faults(motion(reaching()), PANDA, DreamLimits()) == ()


def test_every_fault_is_found_and_said() -> None:
    limits = DreamLimits()
    assert "differ" in faults(motion(reaching(), drift=0.5), PANDA, limits)[0]
    assert "nothing moves" in faults(motion(np.tile(reaching()[:1], (F, 1))), PANDA, limits)[0]
    below = reaching()
    below[-1, 2] = -0.2
    assert any("outside the workspace" in fault for fault in faults(motion(below), PANDA, limits))
    jump = reaching()
    jump[2:, 1] += 0.3
    assert any("m/s" in fault for fault in faults(motion(jump), PANDA, limits))
    joints = np.zeros((F, 7))
    joints[2:, 0] = 1.5  # rad within 0.3 s: the shoulder of a UR5e turns at most at 3.14 rad/s
    assert any("faster" in fault for fault in faults(motion(joints, card="ur5e"), UR5E, limits))


def test_targets_lead_through_the_states() -> None:
    states = reaching()
    actions = targets_along(PANDA, states, N)
    np.testing.assert_allclose(actions[N - 1 :: N], states[1:])
    np.testing.assert_allclose(actions[0], states[0] + (states[1] - states[0]) / N)


def test_what_stands_still_is_cut_off() -> None:
    assert intervals_of_motion(film().frames) == F - 1
    assert intervals_of_motion(film(moving=1).frames) == 2
    assert len(episode(film(moving=1), motion(reaching()))["state"]) == 2 * N
    assert intervals_of_motion(film(moving=0).frames) == 1


def test_a_dream_becomes_a_data_set_whose_windows_begin_at_pictures(tmp_path: Path) -> None:
    with Writer(tmp_path / "panda", card=PANDA, image_size=16, features={DREAMED: [DREAMED]}) as writer:
        writer.add_episode(**episode(film(), motion(reaching())))
    dataset = Dataset.open(tmp_path / "panda")
    assert dataset.num_frames == (F - 1) * N
    assert (dataset.column(DREAMED) == 1).all()
    source = from_dataset(dataset, PANDA, image_size=16, stride=N)
    starts = source.sampled_starts()
    np.testing.assert_array_equal(starts, np.arange(F - 1) * N)
    np.testing.assert_allclose(source.state[starts], reaching()[:-1], atol=1e-6)
    shades = source.images(starts)[:, 0].mean((1, 2, 3))
    np.testing.assert_allclose(shades, np.arange(F - 1) * 20.0, atol=6)  # video is lossy


def test_rates_must_fit() -> None:
    assert steps_between(10 / 3, 10.0) == 3
    with pytest.raises(ValueError, match="no whole multiple"):
        steps_between(4.0, 10.0)
    whole = motion(reaching())
    with pytest.raises(ValueError, match="actions"):
        replace(whole, actions=whole.actions[:-1])
