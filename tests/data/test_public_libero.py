"""The public set of LIBERO as a map makes it the card's: on what lerobot's own writer wrote of its kind."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.bench.libero.openpi import openpi_state
from kinema.card.load import load_card
from kinema.data.convert import convert
from kinema.data.fits import findings, fit, open_set
from kinema.data.formats.opened import open_source
from kinema.data.set_map import FILE, SetMap, read_set_map
from kinema.recipes.sources import made_sources
from kinema.schema import KinemaError

ROOT = Path(__file__).parents[2]
CARD = load_card("panda_libero")


FIXTURE = Path(__file__).parent / "fixtures/libero_openpi"
# the map that the documentation prints
(DOCUMENTED,) = re.findall(
    r"```yaml\n(card: panda_libero\n.*?)```", (ROOT / "docs/benchmarks.md").read_text(), re.DOTALL
)
MAP = SetMap.model_validate(yaml.safe_load(DOCUMENTED))


@pytest.fixture
def public(tmp_path: Path) -> Path:
    folder = tmp_path / "data/libero_public/panda"
    shutil.copytree(FIXTURE, folder)
    (folder / FILE).write_text(DOCUMENTED)
    return folder


def written() -> tuple[np.ndarray, np.ndarray]:
    """States and actions in the card's terms, as the fixture's README says that they were drawn."""
    rng = np.random.default_rng(20)
    place = rng.uniform([-0.2, -0.2, 0.9], [0.2, 0.2, 1.3], (18, 3))
    state = np.concatenate([place, rng.uniform(-0.6, 0.6, (18, 3)), rng.uniform(0, 1, (18, 1))], 1)
    gripper = np.where(np.arange(18) % 9 < 5, -1.0, 1.0)[:, None]
    return state, np.concatenate([rng.uniform(-1, 1, (18, 6)), gripper], 1)


def test_the_recipe_reads_the_public_set_as_the_cards_own_numbers(public: Path) -> None:
    (source,) = made_sources(public.parents[1], "decode", image_size=32, world="libero")
    state, action = written()
    steps = np.arange(18)
    np.testing.assert_allclose(source.state[steps], state, atol=2e-5)
    np.testing.assert_allclose(source.action[steps], action, atol=1e-6)
    assert (source.card, source.ratio, list(source.ends)) == (CARD, 1.0, [9, 18])
    chunk, real = source.windows(np.array([3]), 4)
    np.testing.assert_allclose(chunk[0], action[3:7], atol=1e-6)
    assert real.all()
    front, wrist = source.images(np.array([4]))[0]
    np.testing.assert_array_equal(front[6, 4:10], np.tile([220, 40, 40], (6, 1)))
    np.testing.assert_array_equal(wrist, front[:, ::-1])


def test_what_is_converted_is_said(public: Path) -> None:
    said = {finding.what: str(finding) for finding in findings(open_set(public), CARD)}
    assert "rate_hz: 20" in said["rate"]
    assert "another attitude" in said["state channels ['rx', 'ry', 'rz']"]


def test_a_set_is_converted_at_the_rate_that_the_map_says(public: Path, tmp_path: Path) -> None:
    told = read_set_map(public / FILE)
    out = tmp_path / "own"
    convert(open_source(public, CARD, told), CARD, out, image_size=32, told=told)
    own = open_set(out)
    assert (own.fps, own.num_frames) == (20, 18)
    np.testing.assert_allclose(fit(own, CARD).state, written()[0], atol=2e-5)


@given(
    turn=st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    at=st.tuples(*[st.floats(-0.4, 0.4)] * 2, st.floats(0.8, 1.4)),
    opening=st.floats(0, 1),
)
@settings(max_examples=30, deadline=None)
def test_what_a_server_is_told_and_what_such_a_set_holds_are_inverses(turn, at, opening) -> None:
    """`openpi_state` is held to the simulator's own reading in tests/bench/libero."""
    state = np.array([*at, *turn, opening], np.float32)
    columns = fit(open_set(FIXTURE, MAP), CARD, MAP).states
    np.testing.assert_allclose(columns(openpi_state(state)[None])[0], state, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("rate_hz: 30", "30 rows/s, as the map says; the set says 10"),
        ("rate_hz: 0", "rate_hz"),
        ("zero_attitude: {left: [1, 0, 0, 0]}", "arms of the map's zero_attitude"),
        ("zero_attitude: {right: [1, 1, 0, 0]}", "length 1"),
    ],
)
def test_what_a_map_says_wrongly_is_named(public: Path, change: str, said: str) -> None:
    key = change.split(":")[0]
    (public / FILE).write_text(re.sub(rf"^{key}: .*$", change, DOCUMENTED, flags=re.MULTILINE))
    with pytest.raises(KinemaError, match=re.escape(said)):
        fit(open_set(public), CARD)


def test_a_place_that_is_not_there_is_refused(public: Path) -> None:
    (public / FILE).write_text(DOCUMENTED.replace('x: {key: "0"}', 'x: {key: "8"}'))
    with pytest.raises(KinemaError, match="state channel 'x'"):
        fit(open_set(public), CARD)


def test_below_action_stands_the_commanded_number_alone(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_text("channels: {gripper: {action_key: grip, action: {key: grip}}}")
    with pytest.raises(KinemaError, match="is a key there"):
        read_set_map(path)
