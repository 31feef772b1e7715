"""Laws of Scene2Robot: what is given is given, segments are apart, films of any length, artifacts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from kinema.model.world import mmdit, scene2robot
from kinema.model.world import presets as world_presets
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.model import Scene, WorldModel
from kinema.model.world.scene2robot import Scene2Robot, clip_steps, segments
from kinema.schema import KinemaError
from kinema.space.clip_shape import ClipShape

SIZE, VIEWS = 32, 2


@pytest.fixture(scope="module")
def made() -> Scene2Robot:
    torch.manual_seed(0)
    model = WorldModel(world_presets.tiny_scene2robot()).eval()
    for parameter in model.parameters():  # the modulation starts at zero: give every path something to do
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.05)
    vae = ChangeCode(**world_presets.CODE_TINY).eval()
    return Scene2Robot(
        model=model, vae=vae, clips=ClipShape(frames=9, every=3, size=SIZE), provenance={"clips": {"ur5e": 2}}
    )


def _shown(batch: int = 1, seed: int = 0) -> Scene:
    g = torch.Generator().manual_seed(seed)
    scene, alone = torch.randn(2, batch, 40, 3, 2, 2 * VIEWS, generator=g)
    return segments(scene, alone, VIEWS)


def _films(count: int) -> tuple[np.ndarray, np.ndarray]:
    films = np.random.default_rng(0).integers(0, 256, (2, count, VIEWS, SIZE, SIZE, 3), np.uint8)
    return films[0], films[1]


def test_what_is_made_comes_after_the_scene_and_the_robot_in_times_of_their_own() -> None:
    shown = _shown()
    shapes = [tuple(x.shape[2:]) for x in (shown.still, *shown.given)]
    assert [frames for frames, _, _ in shapes] == [2, 3, 2]
    times = [set(t.tolist()) for t in mmdit.positions(shapes)[:, 0].split([f * h * w for f, h, w in shapes])]
    assert times == [{5, 6}, {0, 1, 2}, {3, 4}]


def test_what_is_given_is_at_flow_time_0_and_has_no_loss(
    made: Scene2Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, seen = _shown(2), []
    wanted = shown.still + 1.0
    stock = made.model.transformer.forward

    def spied(wrong: float):
        def forward(hidden_states: torch.Tensor, **rest):
            seen.append(hidden_states)
            out = stock(hidden_states=hidden_states, **rest)[0]
            out = out.clone()
            out[:, 2 * 8 :] += wrong  # what the network says of the given tokens
            return (out,)

        return forward

    losses = []
    for wrong in (0.0, 100.0):
        monkeypatch.setattr(made.model.transformer, "forward", spied(wrong))
        losses.append(made.model(shown, wanted, torch.Generator().manual_seed(1)).item())
    assert losses[0] == losses[1]
    assert made.model.transformer.config.zero_cond_t
    given = torch.cat([made.model._tokens(x) for x in shown.given], 1)
    for tokens in seen:  # without noise, and shown as what they are
        torch.testing.assert_close(tokens[:, 2 * 8 :, :40], given)
    again = made.model(shown, wanted, torch.Generator().manual_seed(2)).item()
    assert again != losses[0]
    assert torch.equal(seen[-1][:, 16:], seen[0][:, 16:])


def test_both_given_films_decide_what_is_made(made: Scene2Robot) -> None:
    scene, alone = _films(8)
    first = made.compose(scene, alone)
    np.testing.assert_array_equal(made.compose(scene, alone), first)
    assert (made.compose(scene, alone[::-1].copy()) != first).any()
    assert (made.compose(scene[::-1].copy(), alone) != first).any()


@pytest.mark.parametrize("count", [1, 7, 24, 25, 61])
def test_clips_hold_every_step_and_only_pictures_that_are_three_apart(count: int) -> None:
    rows = clip_steps(count, ClipShape(frames=9, every=3))
    assert rows.shape[1] == 8
    assert set(rows.ravel().tolist()) == set(range(count))
    apart = np.diff(rows, axis=1)
    assert ((apart == 3) | (rows[:, 1:] == count - 1)).all()


def test_a_film_of_any_length_is_composed_and_other_shapes_are_refused(made: Scene2Robot) -> None:
    scene, alone = _films(11)
    assert made.compose(scene, alone).shape == scene.shape
    assert made.through_code(scene, alone).shape == scene.shape
    with pytest.raises(KinemaError, match=r"films to compose are \(N, V, 32, 32, 3\)"):
        made.compose(scene, alone[:10])
    with pytest.raises(KinemaError, match="films to compose"):
        made.compose(scene[:, :, :16, :16], alone[:, :, :16, :16])


def test_an_artifact_comes_back_and_a_changed_one_is_noticed(made: Scene2Robot, tmp_path: Path) -> None:
    scene2robot.save(tmp_path / "a", made, _shown())
    back = scene2robot.load(tmp_path / "a")
    assert (back.clips, back.provenance) == (made.clips, made.provenance)
    scene, alone = _films(9)
    differs = made.compose(scene, alone).astype(int) - back.compose(scene, alone)
    assert np.abs(differs).max() <= 1
    example = load_file(tmp_path / "a" / "example.safetensors")
    save_file({**example, "made": example["made"] + 1.0}, tmp_path / "a" / "example.safetensors")
    with pytest.raises(KinemaError, match="imagines its own example with an error"):
        scene2robot.load(tmp_path / "a")
    (tmp_path / "a" / "scene2robot.json").unlink()
    with pytest.raises(KinemaError, match=r"no .*scene2robot\.json"):
        scene2robot.load(tmp_path / "a")
