"""Reading films: what is known is kept, neighbours are brought together, faults are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.card.load import load_card
from kinema.model.film import inverse_artifact
from kinema.model.film.inverse_artifact import FilmReader
from kinema.model.film.inverse_dynamics import (
    InverseConfig,
    InverseDynamics,
    body_vector,
    losses,
    steady,
)
from kinema.schema import Film, KinemaError
from kinema.space.codec import Codec
from kinema.space.layout import NUM_SLOTS
from kinema.space.stats import ChannelStats

SMALL = InverseConfig(image_size=24, channels=8, width=16)


def codec_of(name: str) -> Codec:
    card = load_card(name)
    low, high = -np.ones(len(card.actions)) * 0.2, np.ones(len(card.actions))
    names = tuple(channel.name for channel in card.actions)
    states = tuple(channel.name for channel in card.states)
    return Codec(
        card, ChannelStats(names=names, q01=low, q99=high), ChannelStats(names=states, q01=low, q99=high)
    )


@pytest.fixture(scope="module")
def reader() -> FilmReader:
    torch.manual_seed(0)
    model = InverseDynamics(SMALL).eval()
    codecs = {name: codec_of(name) for name in ("panda", "ur5e")}
    return FilmReader(model=model, codecs=codecs, errors={}, provenance={})


def film(card: str = "panda", size: int = 24, fps: float = 10 / 3) -> Film:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (5, 2, size, size, 3), dtype=np.uint8)
    return Film(frames=frames, cameras=("front", "wrist"), fps=fps, card=card, instruction="")


def test_a_film_gives_states_and_actions_in_the_cards_own_numbers(reader: FilmReader) -> None:
    motion = reader.read(film())
    card = load_card("panda")
    assert motion.states.shape == (5, 7)
    assert motion.actions.shape == (12, 7)
    low, high = np.array([channel.range for channel in card.actions]).T
    assert ((motion.actions >= low) & (motion.actions <= high)).all()


def test_the_known_first_state_is_where_the_path_begins(reader: FilmReader) -> None:
    first = np.array([0.5, 0.1, 0.3, 0.0, 0.0, 0.0, 1.0], np.float32)
    np.testing.assert_allclose(reader.read(film(), first).states[0], first, atol=1e-4)


def test_the_body_decides_how_pictures_are_read(reader: FilmReader) -> None:
    panda, ur5e = reader.read(film("panda")), reader.read(film("ur5e"))
    assert not np.allclose(panda.states, ur5e.states)
    assert not np.array_equal(body_vector(load_card("panda"), SMALL), body_vector(load_card("ur5e"), SMALL))


def test_films_that_do_not_fit_are_refused(reader: FilmReader) -> None:
    for wrong, word in ((film(size=48), "24 px"), (film(fps=5.0), "Hz"), (film("aloha"), "bodies: panda")):
        with pytest.raises(KinemaError, match=word):
            reader.read(wrong)


def test_steadying_agrees_with_whom_it_trusts() -> None:
    rng = np.random.default_rng(1)
    true = np.cumsum(rng.normal(size=(13, 2)), axis=0)
    np.testing.assert_allclose(steady(true, np.diff(true, axis=0), trust=4.0), true, atol=1e-9)
    noisy = true + 0.3 * rng.normal(size=true.shape)
    steadied = steady(noisy, np.diff(true, axis=0), trust=4.0)
    assert np.abs(steadied - true).mean() < 0.6 * np.abs(noisy - true).mean()
    led = steady(noisy, np.diff(true, axis=0), trust=1e6, first=true[0])
    np.testing.assert_allclose(led, true, atol=1e-3)
    np.testing.assert_allclose(steady(noisy, np.diff(true, axis=0), trust=0.0), noisy)


def test_states_come_back_from_the_unified_space() -> None:
    codec = codec_of("panda")
    states = np.random.default_rng(2).uniform(-0.1, 0.9, (6, 7))
    np.testing.assert_allclose(codec.decode_state(codec.encode_state(states)), states, atol=1e-6)


def test_slots_of_other_bodies_carry_no_loss() -> None:
    torch.manual_seed(0)
    model, codec = InverseDynamics(SMALL), codec_of("panda")
    frames = torch.zeros(2, 3, 2, 3, 24, 24, dtype=torch.uint8)
    body = torch.from_numpy(body_vector(codec.card, SMALL))[None].expand(2, -1)
    reading = model(frames, body)
    masks = tuple(torch.from_numpy(mask)[None].expand(2, -1) for mask in (codec.state_mask, codec.mask))
    zeros = torch.zeros(2, 3, NUM_SLOTS), torch.zeros(2, 2, 3, NUM_SLOTS)
    plain = losses(reading, *zeros, masks)  # type: ignore[arg-type]
    elsewhere = [value + 100.0 * (~torch.from_numpy(codec.mask)).float() for value in zeros]
    moved = losses(reading, *elsewhere, masks)  # type: ignore[arg-type]
    assert {name: value.item() for name, value in plain.items()} == {
        name: value.item() for name, value in moved.items()
    }


def test_an_artifact_reads_as_before_and_a_damaged_one_says_so(reader: FilmReader, tmp_path: Path) -> None:
    body = torch.from_numpy(body_vector(load_card("panda"), SMALL))[None]
    frames = torch.from_numpy(np.ascontiguousarray(np.moveaxis(film().frames, -1, 2)))[None]
    inverse_artifact.save(tmp_path, reader, frames, body)
    again = inverse_artifact.load(tmp_path)
    np.testing.assert_allclose(again.read(film()).states, reader.read(film()).states)
    about = json.loads((tmp_path / "inverse.json").read_text())
    (tmp_path / "inverse.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(KinemaError, match="format 99"):
        inverse_artifact.load(tmp_path)
    (tmp_path / "inverse.json").write_text(json.dumps(about))
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(KinemaError, match="damaged"):
        inverse_artifact.load(tmp_path)
