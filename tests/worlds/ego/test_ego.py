"""The world from a person's eyes: a head that moves, a hand whose drawn joints are what is recorded."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.card.check import expected_slots
from kinema.card.load import load_card, people_names
from kinema.card.prompt import prompt
from kinema.space.codec import Codec
from kinema.space.hand_posture import angles_of, points_of
from kinema.space.rotation import matrix_from_rotvec
from kinema.space.stats import ChannelStats
from kinema.worlds.ego.demonstrate import demonstrate_ego
from kinema.worlds.ego.hand import angles_for
from kinema.worlds.ego.world import EgoWorld
from kinema.worlds.hand.stage import FAMILIES

SEED = 50_000
CARD = load_card("ego")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_hand_does_the_task_and_the_head_looks_on(family: str) -> None:
    world = EgoWorld(family=family, image_size=48)
    shown = [demonstrate_ego(world, seed) for seed in range(SEED, SEED + 4)]
    world.close()
    assert sum(one.success for one in shown) >= 2
    for one in shown:
        assert one.state.shape == one.action.shape == (len(one.images["head"]), len(CARD.states))
        np.testing.assert_array_equal(one.action[:-1], one.state[1:])
        low, high = np.array([channel.range for channel in CARD.states]).T
        assert ((one.state >= low) & (one.state <= high)).all()
        assert one.points[:, 0, 0, 2].mean() > 0.9  # the thing is in the picture
        assert one.images["head"].std() > 5


def test_the_same_seed_is_the_same_episode_and_the_head_truly_moves() -> None:
    world = EgoWorld(family="pick_place", image_size=48)
    first = demonstrate_ego(world, SEED)
    heads = []
    world.reset(SEED + 1)
    for _ in range(10):
        world.step(np.array([0.5, 0.1, 0.1, 1.0]))
        heads.append(world.head())
    again = demonstrate_ego(world, SEED)
    world.close()
    np.testing.assert_array_equal(first.state, again.state)
    np.testing.assert_array_equal(first.images["head"], again.images["head"])
    heads = np.array(heads)
    assert np.ptp(heads[:, :3, 3], axis=0).max() > 0.002
    assert np.abs(heads[-1, :3, :3] - heads[0, :3, :3]).max() > 0.02


def test_what_is_recorded_is_the_hand_that_is_drawn() -> None:
    """From state alone: thumb and index meet the pads that the physics moves."""
    world = EgoWorld(family="button", image_size=48)
    world.reset(SEED)
    for opening in (1.0, 0.6, 0.3):
        for _ in range(8):
            world.step(np.array([0.45, 0.05, 0.15, opening]))
        state = world.state().astype(float)
        points = points_of(angles_of(state[6:])) @ matrix_from_rotvec(state[3:6]).T + state[:3]
        T = np.linalg.inv(world.T_head_world)
        thumb, index = points[[4, 8]] @ T[:3, :3].T + T[:3, 3]
        np.testing.assert_allclose((thumb + index) / 2, world.scene.tool(), atol=1e-4)
        gap = np.linalg.norm(thumb - index) - 0.016
        assert gap == pytest.approx(world.scene.gap_m(), abs=0.003)
    world.close()


def test_the_fingers_open_as_far_as_the_hand() -> None:
    apart = [
        np.linalg.norm(np.diff(points_of(angles_for(gap))[[4, 8]], axis=0)) for gap in (0.02, 0.05, 0.07)
    ]
    np.testing.assert_allclose(apart, np.array([0.02, 0.05, 0.07]) + 0.016, atol=5e-4)


@pytest.mark.parametrize("name", ["ego", "ego_hands"])
def test_its_cards_and_codec(name: str) -> None:
    """Wrist motion counts from the chunk's first frame; all of it comes back from the unified slots."""
    card = load_card(name)
    assert name in people_names()
    assert [channel.slot for channel in card.actions] == expected_slots(card)
    assert "person" in prompt(card, "press the red button", 8)
    rng, wide = np.random.default_rng(0), len(card.actions)
    stats = ChannelStats(
        names=tuple(c.name for c in card.actions), q01=np.full(wide, -4.0), q99=np.full(wide, 4.0)
    )
    codec = Codec(card, stats, stats)
    state, chunk = rng.uniform(-1, 1, wide), rng.uniform(-1, 1, (8, wide))
    chunk[0] = state
    unified = codec.encode(chunk, state)
    moved = [i for i, channel in enumerate(card.actions) if channel.reference == "first_frame"]
    slots = np.flatnonzero(codec.mask)
    assert len(slots) == wide
    order = [list(codec._slots).index(slot) for slot in slots]
    start = unified[0, slots][np.argsort(order)]
    np.testing.assert_allclose(start[moved], 0.0, atol=1e-6)
    np.testing.assert_allclose(codec.decode(unified, state), chunk, atol=1e-5)
