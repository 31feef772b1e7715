"""Laws of the world model's training: clips, phases, and a run that goes on bit for bit."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinema.data.clips import apart, side_by_side
from kinema.data.stream import Feed
from kinema.model.policy import artifact
from kinema.model.world import artifact as world_artifact
from kinema.model.world import presets as world_presets
from kinema.model.world.artifact import load_code
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.errors import psnr_db
from kinema.model.world.latents import Latents, batch_of
from kinema.model.world.model import WorldConfig
from kinema.model.world.understanding import WORDS, Understood
from kinema.schema import KinemaError
from kinema.train.checkpoint import stored
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig, Optimizer
from kinema.train.recipe import Options, Recipe
from kinema.train.run import Run, run
from kinema.train.stage import Setting
from kinema.train.stages.video_code import VideoCodeStage, psnr_of
from kinema.train.stages.world import Material, Phase, WorldStage

BOTH = Phase(name="both", steps=1, tasks={"image_to_video": 1.0}, views={"all": 1.0})


def _latents(clips: int = 6) -> Latents:
    g = torch.Generator().manual_seed(0)
    understood = Understood(
        words=torch.randn(clips, WORDS, 192, generator=g).half(),
        word_mask=torch.ones(clips, WORDS, dtype=torch.bool),
        pictures=torch.randn(clips, 2, 36, 192, generator=g).half(),
        where=torch.rand(clips, 2, 2, 39, generator=g).half(),
        seen=torch.ones(clips, dtype=torch.bool),
    )
    return Latents(
        films=torch.randn(clips, 2, 40, 4, 6, 6, generator=g).half(),
        still=torch.randn(clips, 2, 40, 6, 6, generator=g).half(),
        understood=understood,
        card=np.array(["panda"] * (clips - 2) + ["ur5e"] * 2),
    )


def test_views_side_by_side_come_apart_again() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 4, 8, 8, 3), np.uint8)
    canvas = side_by_side(frames)
    assert canvas.shape == (3, 8, 32, 3)
    np.testing.assert_array_equal(canvas[:, :, 8:16], frames[:, 1])
    np.testing.assert_array_equal(apart(canvas, 4), frames)
    with pytest.raises(KinemaError, match="3 views"):
        apart(canvas, 3)


def test_tasks_differ_in_what_is_given_and_in_what_may_be_seen() -> None:
    rows, latents = torch.tensor([1, 3]), _latents()
    follow = batch_of(latents, rows, "image_to_video", "all")
    assert follow.wanted.shape == (2, 40, 3, 6, 12)
    assert follow.scene.understood.seen.all()
    torch.testing.assert_close(
        torch.cat([follow.scene.given[0], follow.wanted], 2)[:, :, :, :, 6:], latents.films[rows, 1].float()
    )
    film = batch_of(latents, rows, "video", "last")
    assert film.wanted.shape == (2, 40, 4, 6, 6)
    picture = batch_of(latents, rows, "image", "first")
    assert picture.wanted.shape == (2, 40, 1, 6, 6)
    for batch in (film, picture):
        assert batch.scene.given == ()
        assert not batch.scene.still.any()
        assert not batch.scene.understood.seen.any()  # what shows the first picture must not be told


def test_phases_follow_each_other_and_the_stream_goes_on_where_it_stood() -> None:
    first = Phase(name="pictures", steps=2, tasks={"image": 1.0}, views={"first": 1.0})
    stream = _stage(first, BOTH).stream(Feed(batch_size=2))
    frames = [stream.draw().wanted.shape[2] for _ in range(3)]
    assert frames == [1, 1, 3]
    state = stream.state
    wanted = stream.draw().wanted
    stream.state = state
    assert torch.equal(stream.draw().wanted, wanted)
    with pytest.raises(ValueError, match="add up to"):
        Phase(name="bad", steps=1, tasks={"image": 0.5}, views={"all": 1.0})


def test_processes_share_a_batch_and_all_draw_the_same_task() -> None:
    mixed = Phase(name="mixed", steps=1, tasks={"video": 0.5, "image_to_video": 0.5}, views={"all": 1.0})
    whole = _stage(mixed).stream(Feed(batch_size=6, seed=3))
    shares = [_stage(mixed).stream(Feed(batch_size=3, seed=3, rank=i, ranks=2)) for i in (0, 1)]
    for _ in range(6):
        parts = torch.stack([share.draw().wanted for share in shares], 1).flatten(0, 1)
        assert torch.equal(parts, whole.draw().wanted)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    for processes in (1, 2):
        folder = run(_recipe(BOTH), tmp_path, tmp_path / str(processes), Options(processes=processes))
        about = json.loads((folder / "world.json").read_text())["provenance"]
        # the noise is each process's own, so the weights are not the same; the steps and the schedule are
        assert about["steps"] == 4
        assert list(about["judged"]) == ["the end"]
        assert set(about["judged"]["the end"]) == {"panda", "ur5e"}
    assert [path.name for path in stored(tmp_path / "2" / "checkpoint")] == ["step_000000004"]
    with pytest.raises(KinemaError, match="cannot be shared"):
        Options(processes=2, batch_size=3).of(_recipe(BOTH))


def test_only_phases_that_took_steps_are_judged(tmp_path: Path) -> None:
    first = Phase(name="pictures", steps=2, tasks={"image": 1.0}, views={"first": 1.0})
    for steps, resume, judged in ((2, False, ["pictures"]), (4, True, []), (4, True, [])):
        whole = Run(_recipe(first, BOTH), tmp_path, tmp_path, Options(steps=steps, resume=resume))
        whole.train()
        assert list(whole.found) == judged


def test_shares_decide_which_bodies_are_drawn_whatever_their_number_of_clips() -> None:
    latents = _latents()
    mixed = replace(BOTH, bodies={"panda": 0.1, "ur5e": 0.9})
    theirs = latents.films[latents.card == "ur5e"][:, 0, 0, 1, 0, 0].float()
    drawn = _stage(mixed).stream(Feed(batch_size=400)).draw().wanted[:, 0, 0, 0, 0]
    assert torch.isin(drawn, theirs).float().mean() == pytest.approx(0.9, abs=0.05)
    with pytest.raises(KinemaError, match="wants clips of hand; there are some of panda, ur5e"):
        _stage(replace(BOTH, bodies={"hand": 1.0}))
    with pytest.raises(ValueError, match="shares of bodies add up to"):
        replace(BOTH, bodies={"panda": 0.5})


def test_a_world_model_starts_from_the_weights_of_another(tmp_path: Path) -> None:
    first = Run(_recipe(BOTH), tmp_path, tmp_path / "first")
    folder = first.export(first.begin(), tmp_path / "artifact")
    second = Run(_recipe(BOTH), tmp_path, tmp_path / "second", Options(seed=1, init=folder)).stage.model
    started_from = world_artifact.load(folder).model.state_dict()
    for (name, ours), theirs in zip(second.state_dict().items(), started_from.values()):
        assert torch.equal(ours, theirs), name
    stored = WorldConfig.from_json(json.loads(json.dumps(world_presets.nano().to_json())))
    assert stored == world_presets.nano()
    other = partial(_recipe(BOTH).stage, config=replace(world_presets.tiny(), moving=1.0))
    with pytest.raises(KinemaError, match="configured alike"):
        other(Setting(data=tmp_path, out=tmp_path, init=folder))


def _code() -> ChangeCode:
    torch.manual_seed(5)
    return ChangeCode(**world_presets.CODE_TINY)


def _policy() -> artifact.Artifact:
    return artifact.load(Path(str(files("kinema") / "artifacts" / "nano")), check=False)


LOOP = LoopConfig(steps=4, log_every=10, save_every=100, optim=OptimConfig(warmup_steps=2))


def _made(stage: Callable[..., Any]) -> Recipe:
    return Recipe(name="test", summary="", data_command="", stage=stage, batch_size=2, loop=LOOP)


def _recipe(*phases: Phase) -> Recipe:
    def material(setting: Setting) -> Material:
        return Material(latents=_latents(), held_out=_latents(4), vae=_code(), policy=_policy())

    return _made(partial(WorldStage, config=world_presets.tiny(), phases=phases, material=material))


def _stage(*phases: Phase) -> WorldStage:
    stage = _recipe(*phases).stage(Setting(data=Path(), out=Path()))
    assert isinstance(stage, WorldStage)
    return stage


def _assert_halves_equal_a_whole(recipe: Recipe, out: Path) -> None:
    whole = Run(recipe, out, out / "whole").train()
    Run(recipe, out, out / "halves").begin().run(until=2)
    rest = Run(recipe, out, out / "halves", Options(resume=True)).train()
    assert rest.step == 4
    for name, value in whole.ema.weights.items():
        assert torch.equal(rest.ema.weights[name], value), name


def test_two_halves_of_a_run_equal_the_whole_bit_for_bit(tmp_path: Path) -> None:
    _assert_halves_equal_a_whole(_recipe(BOTH), tmp_path)


class _Clips:
    """Noise in place of a data set's clips."""

    name, views = "noise", 2

    def __len__(self) -> int:
        return 8

    def frames(self, rows: np.ndarray) -> np.ndarray:
        return np.stack(
            [np.random.default_rng(row).integers(0, 256, (5, 2, 32, 32, 3), np.uint8) for row in rows]
        )


def _code_recipe(code: dict[str, Any] = world_presets.CODE_TINY) -> Recipe:
    return _made(partial(VideoCodeStage, code=code, clips=lambda *_: [_Clips()], fitted_on=4))


@pytest.mark.slow
def test_two_halves_of_a_code_equal_the_whole_and_its_components_are_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    fit_first = ChangeCode.fit_first
    monkeypatch.setattr(ChangeCode, "fit_first", lambda *a: (found.append(1), fit_first(*a))[1])
    _assert_halves_equal_a_whole(_code_recipe(), tmp_path)
    assert len(found) == 2  # of the whole and of the first half


def test_a_code_starts_from_the_weights_of_another_of_its_size(tmp_path: Path) -> None:
    first = Run(_code_recipe(), tmp_path, tmp_path / "first")
    folder = first.export(first.begin(), tmp_path / "first" / "artifact")
    again = load_code(folder).named_parameters()
    second = Run(_code_recipe(), tmp_path, tmp_path / "second", Options(seed=1, init=folder)).stage.model
    for (name, ours), (_, theirs) in zip(second.named_parameters(), again):
        assert torch.equal(ours, theirs), name
    with pytest.raises(KinemaError, match="cannot start from it: size mismatch"):
        Run(_code_recipe(world_presets.CODE_NANO), tmp_path, tmp_path / "third", Options(init=folder))


def test_too_few_episodes_to_keep_one_back_are_named() -> None:
    class Empty(_Clips):
        def __len__(self) -> int:
            return 0

    with pytest.raises(KinemaError, match="no clips of noise: one episode of 20 is kept back"):
        psnr_of(ChangeCode(**world_presets.CODE_TINY), [Empty()])


def test_the_code_learns_what_changes() -> None:
    torch.manual_seed(0)
    code = ChangeCode(**world_presets.CODE_TINY)
    rows = torch.arange(96).view(1, 1, 1, 96, 1).expand(2, 3, 5, 96, 96)
    clips = (127 + 80 * torch.sin(rows / 5.0)).to(torch.uint8)
    clips[:, :, 1:, 32:64, 32:64] = 255
    before = psnr_db(code.eval(), [clips])
    stage = _code_recipe().stage(Setting(data=Path(), out=Path()))
    stage.model = code.train()
    optimizer = Optimizer(code, OptimConfig(lr=5e-3, matrix_lr=None))
    for _ in range(30):
        losses = stage(clips, torch.Generator().manual_seed(0))
        sum(losses[name] * weight for name, weight in stage.weights.items()).backward()
        optimizer.step(1.0)
    assert psnr_db(code.eval(), [clips]) > before + 3.0
    assert code.basis.grad is None
