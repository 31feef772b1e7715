"""The ensemble's fast form equals a loop over its members; geometry equals the simulator's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kinema.card.load import load_card
from kinema.model.gate.commanded_path import FEATURES, POINTS, SIDES, PathReader
from kinema.model.gate.inputs import SceneReader, words
from kinema.model.gate.latent_dynamics import (
    DynamicsConfig,
    LatentDynamics,
    Members,
    _project,
    event_risk,
    gripper_corners,
)
from kinema.schema import KinemaError, Observation
from kinema.worlds.cameras import project
from kinema.worlds.tabletop.env import TabletopEnv

SMALL = DynamicsConfig(members=3, steps=4, image_size=32, channels=8, cells=6, latent=16, path_width=16)


def _observation(card_name: str = "panda", seed: int = 0) -> Observation:
    card, rng = load_card(card_name), np.random.default_rng(seed)
    images = {name: rng.integers(0, 256, (32, 32, 3), np.uint8) for name in card.camera_names}
    low, high = np.array([channel.range for channel in card.states]).T
    state = (low + 0.5 * (high - low)).astype(np.float32)
    return Observation(images=images, state=state, instruction="push the block", time_s=0.0)


def test_members_are_separate_linear_layers() -> None:
    torch.manual_seed(0)
    layer, x = Members(4, 5, 6), torch.randn(4, 7, 5)
    torch.nn.init.normal_(layer.bias)
    slow = torch.stack([x[m] @ layer.weight[m] + layer.bias[m] for m in range(4)])
    torch.testing.assert_close(layer(x), slow)


def test_the_ensemble_is_its_members_one_by_one() -> None:
    """Take every member out into a network of one and unroll it alone."""
    torch.manual_seed(0)
    whole = LatentDynamics(SMALL).eval()
    for parameter in whole.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    reader = SceneReader(load_card("panda"), SMALL)
    scenes = reader.observed(_observation())
    path = torch.from_numpy(
        reader.paths.path(np.random.default_rng(0).random((1, 5, 4, 7)), _observation().state[None, None])
    )
    with torch.inference_mode():
        _, together = whole(scenes, path)
        for m in range(SMALL.members):
            alone = LatentDynamics(DynamicsConfig(**{**SMALL.to_json(), "members": 1})).eval()
            state = {
                k: v[m : m + 1] if k.startswith(("begin", "gates", "head")) else v
                for k, v in whole.state_dict().items()
            }
            alone.load_state_dict(state)
            _, one = alone(scenes, path)
            torch.testing.assert_close(one.events[0], together.events[m], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(one.progress[0], together.progress[m], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together.events[0], together.events[1])


def test_candidates_do_not_see_each_other_and_the_future_does_not_change_the_past() -> None:
    torch.manual_seed(0)
    model = LatentDynamics(SMALL).eval()
    reader = SceneReader(load_card("panda"), SMALL)
    scenes = reader.observed(_observation())
    path = torch.rand(1, 3, 4, 2, FEATURES)
    other = path.clone()
    other[0, 1] += 0.3
    other[0, 0, 2:] += 0.3
    with torch.inference_mode():
        before, after = (model(scenes, p)[1].events for p in (path, other))
    torch.testing.assert_close(before[:, :, 2], after[:, :, 2])
    torch.testing.assert_close(before[:, :, 0, :2], after[:, :, 0, :2])
    assert not torch.allclose(before[:, :, 0, 2:], after[:, :, 0, 2:])


def test_risk_never_falls_with_time_and_grows_with_disagreement() -> None:
    torch.manual_seed(0)
    model = LatentDynamics(SMALL).eval()
    scenes = SceneReader(load_card("panda"), SMALL).observed(_observation())
    with torch.inference_mode():
        seen, foreseen = model(scenes, torch.rand(1, 3, 4, 2, FEATURES))
    calm, careful = event_risk(seen, foreseen, 0.0), event_risk(seen, foreseen, 1.0)
    assert (calm.diff(dim=2) >= 0).all()
    assert (careful >= calm - 1e-6).all()


@pytest.mark.parametrize("card_name", ["panda", "ur5e", "aloha"])
def test_tools_and_cameras_are_where_the_simulator_has_them(card_name: str) -> None:
    card = load_card(card_name)
    env, reader = TabletopEnv(card=card, family="pick_place"), PathReader(card)
    env.reset(3)
    state, scene = env.state().astype(np.float64), env.scene
    start = reader.start(state)
    for i, side in enumerate(SIDES):
        if reader.arm_mask[i]:
            site = scene.robot.arm(side).tool_site
            np.testing.assert_allclose(start[i, :3], scene.data.site_xpos[site], atol=1e-6)
            np.testing.assert_allclose(
                start[i, 3:6], scene.data.site_xmat[site].reshape(3, 3)[:, 0], atol=1e-6
            )
    points = np.random.default_rng(0).uniform([0.3, -0.3, 0], [0.7, 0.3, 0.3], (60, 3))
    views = reader.views(state)
    uv, inside = _project(
        torch.from_numpy(points).float()[None],
        torch.from_numpy(views.pose)[None],
        torch.from_numpy(views.focal)[None],
    )
    for i, name in enumerate(card.camera_names):
        wanted = project(scene.model, scene.data, scene.model.camera(name).id, points)
        seen = wanted[:, 2] > 0
        assert seen.any()
        np.testing.assert_array_equal(inside[0, i].numpy() > 0, seen)
        np.testing.assert_allclose((uv[0, i].numpy()[seen] + 1) / 2, wanted[seen, :2], atol=1e-5)


def test_finger_tips_part_as_the_gripper_opens() -> None:
    reader = PathReader(load_card("panda"))
    path = torch.zeros(2, 2, FEATURES)
    path[..., 3], path[..., 7] = 1.0, 1.0  # axes of the robot
    path[1, :, 9] = 1.0  # open
    shut, opened = gripper_corners(path, torch.from_numpy(reader.points)[None])[:, 0]
    assert shut.shape == (POINTS, 3)
    width = abs(opened[1, 1] - opened[0, 1]) - abs(shut[1, 1] - shut[0, 1])
    assert float(width) == pytest.approx(0.08, abs=1e-6)
    torch.testing.assert_close(opened[2:], shut[2:])


def test_path_counts_what_lies_beyond_the_cards_ranges() -> None:
    card = load_card("panda")
    reader = PathReader(card)
    low, high = np.array([channel.range for channel in card.actions]).T
    state = (low + high) / 2
    inside, outside = np.repeat(state[None], 3, 0), np.repeat(state[None], 3, 0)
    outside[1, 2] = high[2] + 0.2
    assert (reader.path(inside, state)[:, 0, 10] == 0).all()
    np.testing.assert_allclose(reader.path(outside, state)[:, 0, 10], [0, 0.2, 0], atol=1e-6)


def test_words_ignore_case_and_order_but_not_meaning() -> None:
    np.testing.assert_array_equal(words("Push the red block.", 64), words("the block red push", 64))
    assert not np.array_equal(words("push the red block", 64), words("push the blue block", 64))


def test_a_body_without_a_tool_path_is_refused() -> None:
    with pytest.raises(KinemaError, match="sawyer_metaworld"):
        PathReader(load_card("sawyer_metaworld"))
