"""Every seed of every shipped body and family has a scene: no reset raises, no data command dies of one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.load import load_card
from kinema.worlds import TabletopEnv, Variation, families_for
from kinema.worlds.tabletop.check import tabletop_robots
from kinema.worlds.tabletop.families.push import Push
from kinema.worlds.tabletop.family import Episode
from kinema.worlds.tabletop.layout import Footprint, scatter
from kinema.worlds.tabletop.scene import WorkArea
from laws import examples

PAIRS = [(robot, family) for robot in tabletop_robots() for family in families_for(robot)]
TRAINING_SEED = 1_000_000


def reset_many(env: TabletopEnv, seeds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinema.worlds.tabletop.env._SETTLE_S", 0.0)  # only the layout matters
    for seed in seeds:
        env.reset(seed)


@pytest.mark.parametrize(("robot", "family"), [p for p in PAIRS if p[0] in ("so101", "widowx", "piper")])
def test_resets_of_small_bodies_never_raise(robot: str, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = TabletopEnv(card=load_card(robot), family=family)
    reset_many(env, range(TRAINING_SEED + 40, TRAINING_SEED + 60), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("variation", ["seen", "position"])
@pytest.mark.parametrize(("robot", "family"), PAIRS)
def test_a_thousand_resets_never_raise(
    robot: str, family: str, variation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = TabletopEnv(card=load_card(robot), family=family, variation=Variation.named(variation))
    reset_many(env, range(TRAINING_SEED, TRAINING_SEED + 1000), monkeypatch)


@pytest.mark.slow
@examples(10)
@given(
    seed=st.integers(0, 2**32),
    half=st.tuples(st.floats(0.04, 0.2), st.floats(0.04, 0.2)),
    radii=st.lists(st.floats(0.03, 0.12), min_size=1, max_size=5),
    ring=st.booleans(),
)
def test_there_is_room_in_every_area(
    seed: int, half: tuple[float, float], radii: list[float], ring: bool
) -> None:
    area = WorkArea(center=(0.3, 0.0), half=half)
    footprints = [Footprint(radius_m=radius, in_ring=ring) for radius in radii]
    places = scatter(np.random.default_rng(seed), area, footprints)
    assert len(places) == len(radii)
    assert np.isfinite(places).all()


@examples(3)
@given(seed=st.integers(0, 2**32), half=st.tuples(st.floats(0.08, 0.2), st.floats(0.08, 0.2)))
def test_a_push_has_a_way_in_every_area(seed: int, half: tuple[float, float]) -> None:
    scene = SimpleNamespace(area=WorkArea(center=(0.3, 0.0), half=half))
    episode = Episode(rng=np.random.default_rng(seed), variation=Variation())
    assert len(Push()._spots(scene, episode)) == 4  # type: ignore[arg-type]
