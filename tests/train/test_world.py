"""Laws of the world model's training: clips, phases, and a run that goes on bit for bit."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.data.clips import apart, side_by_side
from kinema.model.policy import artifact
from kinema.model.world import presets as world_presets
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.model import WorldConfig, WorldModel
from kinema.model.world.understanding import WORDS, Understood
from kinema.schema import KinemaError
from kinema.train.checkpoint import stored
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig, Optimizer
from kinema.train.parallel import Group
from kinema.train.stages.vae import Reconstruction, psnr_db
from kinema.train.stages.world import Latents, LatentStream, Phase, batch_of
from kinema.train.world import (
    VaeTrainConfig,
    VaeTraining,
    WorldTrainConfig,
    WorldTraining,
    load_vae,
    psnr_of,
    save_vae,
    train_vae,
    train_world,
)

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
    stream = LatentStream(_latents(), (first, BOTH), batch_size=2, seed=0)
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
    whole = LatentStream(_latents(), (mixed,), batch_size=6, seed=3)
    shares = [LatentStream(_latents(), (mixed,), batch_size=3, seed=3, stream=i, streams=2) for i in (0, 1)]
    for _ in range(6):
        parts = torch.stack([share.draw().wanted for share in shares], 1).flatten(0, 1)
        assert torch.equal(parts, whole.draw().wanted)


def test_two_processes_take_the_steps_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    ends = []
    for processes in (1, 2):
        training = train_world(
            replace(_config(), processes=processes), _latents(), _latents(4),
            _code(), _policy(), tmp_path / str(processes), resume=False,
        )  # fmt: skip
        ends.append(training)
    # the noise is each process's own, so the weights are not the same; the steps and the schedule are
    assert [training.loop.step for training in ends] == [4, 4]
    assert all(list(training.effects) == ["both"] for training in ends)
    assert all(set(training.effects["both"]) == {"panda", "ur5e"} for training in ends)
    assert [path.name for path in stored(tmp_path / "2" / "checkpoint")] == ["step_000000004"]
    with pytest.raises(KinemaError, match="cannot be shared"):
        WorldTraining(
            replace(_config(), batch_size=3), _latents(), _code(), _policy(),
            tmp_path / "odd", Group(size=2),
        )  # fmt: skip


def test_only_phases_that_took_steps_are_judged(tmp_path: Path) -> None:
    first = Phase(name="pictures", steps=2, tasks={"image": 1.0}, views={"first": 1.0})
    for steps, resume, judged in ((2, False, ["pictures"]), (4, True, ["both"]), (4, True, [])):
        config = replace(_config(), phases=(first, BOTH), loop=replace(_config().loop, steps=steps))
        training = train_world(
            config, _latents(), _latents(4), _code(), _policy(), tmp_path,
            resume=resume,
        )  # fmt: skip
        assert list(training.effects) == judged


def test_shares_decide_which_bodies_are_drawn_whatever_their_number_of_clips() -> None:
    latents = _latents()
    mixed = replace(BOTH, bodies={"panda": 0.1, "ur5e": 0.9})
    theirs = latents.films[latents.card == "ur5e"][:, 0, 0, 1, 0, 0].float()
    drawn = LatentStream(latents, (mixed,), batch_size=400, seed=0).draw().wanted[:, 0, 0, 0, 0]
    assert torch.isin(drawn, theirs).float().mean() == pytest.approx(0.9, abs=0.05)
    with pytest.raises(KinemaError, match="wants clips of hand; there are some of panda, ur5e"):
        LatentStream(latents, (replace(BOTH, bodies={"hand": 1.0}),), batch_size=2, seed=0)
    with pytest.raises(ValueError, match="shares of bodies add up to"):
        replace(BOTH, bodies={"panda": 0.5})


def test_a_world_model_starts_from_the_weights_of_another(tmp_path: Path) -> None:
    first = _training(tmp_path / "first").model
    seeded = replace(_config(), loop=replace(_config().loop, seed=1))
    parts = (_latents(), _code(), _policy())
    second = WorldTraining(seeded, *parts, tmp_path / "second", init=first).model
    for (name, ours), theirs in zip(second.state_dict().items(), first.state_dict().values()):
        assert torch.equal(ours, theirs), name
    stored = WorldConfig.from_json(json.loads(json.dumps(world_presets.nano().to_json())))
    assert stored == world_presets.nano()
    other = WorldModel(replace(world_presets.tiny(), moving=1.0))
    with pytest.raises(KinemaError, match="configured alike"):
        WorldTraining(seeded, *parts, tmp_path / "third", init=other)


def _code() -> ChangeCode:
    torch.manual_seed(5)
    return ChangeCode(**world_presets.CODE_TINY)


def _policy() -> artifact.Artifact:
    return artifact.load(Path(str(files("kinema") / "artifacts" / "nano")), check=False)


def _config() -> WorldTrainConfig:
    return WorldTrainConfig(
        name="test",
        world=world_presets.tiny(),
        phases=(BOTH,),
        batch_size=2,
        loop=LoopConfig(steps=4, log_every=10, save_every=100, optim=OptimConfig(warmup_steps=2)),
    )


def _training(out: Path) -> WorldTraining:
    return WorldTraining(_config(), _latents(), _code(), _policy(), out)


def test_two_halves_of_a_run_equal_the_whole_bit_for_bit(tmp_path: Path) -> None:
    whole = _training(tmp_path / "whole")
    whole.loop.run()
    _training(tmp_path / "halves").loop.run(until=2)
    second = _training(tmp_path / "halves")
    second.loop.resume()
    second.loop.run()
    for name, value in whole.loop.ema.weights.items():
        assert torch.equal(second.loop.ema.weights[name], value), name


class _Clips:
    """Noise in place of a data set's clips."""

    name, views = "noise", 2

    def __len__(self) -> int:
        return 8

    def frames(self, rows: np.ndarray) -> np.ndarray:
        return np.stack(
            [np.random.default_rng(row).integers(0, 256, (5, 2, 32, 32, 3), np.uint8) for row in rows]
        )


def test_two_halves_of_a_code_equal_the_whole_and_its_components_are_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = VaeTrainConfig(
        name="test", code=world_presets.CODE_TINY, fitted_on=4, batch_size=2, loop=_config().loop
    )
    sources = [_Clips()]
    whole = train_vae(config, sources, tmp_path / "whole", resume=False)
    VaeTraining(config, sources, tmp_path / "halves").loop.run(until=2)
    monkeypatch.delattr(ChangeCode, "fit_first")
    rest = train_vae(config, sources, tmp_path / "halves", resume=True)
    for name, value in whole.loop.ema.weights.items():
        assert torch.equal(rest.loop.ema.weights[name], value), name


def test_a_code_starts_from_the_weights_of_another_of_its_size(tmp_path: Path) -> None:
    config = VaeTrainConfig(
        name="test", code=world_presets.CODE_TINY, fitted_on=4, batch_size=2, loop=_config().loop
    )
    first = VaeTraining(config, [_Clips()], tmp_path / "first")
    second = VaeTraining(replace(config, loop=replace(config.loop, seed=1)), [_Clips()], tmp_path / "second",
                         init=load_vae(save_vae(first.code, tmp_path / "first")))  # fmt: skip
    for (name, ours), theirs in zip(second.code.named_parameters(), first.code.parameters()):
        assert torch.equal(ours, theirs), name
    with pytest.raises(KinemaError, match="cannot start from the weights"):
        VaeTraining(config, [_Clips()], tmp_path / "third", init=ChangeCode(**world_presets.CODE_NANO))


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
    stage = Reconstruction(code.train())
    optimizer = Optimizer(code, OptimConfig(lr=5e-3, matrix_lr=None))
    for _ in range(30):
        losses = stage(clips, torch.Generator().manual_seed(0))
        sum(losses[name] * weight for name, weight in stage.weights.items()).backward()
        optimizer.step(1.0)
    assert psnr_db(code.eval(), [clips]) > before + 3.0
    assert code.basis.grad is None
