"""Laws of Scene2Robot's training: which bodies it sees, and a run that goes on bit for bit."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kinema.commands.train.train_scene2robot import provenance
from kinema.data.aligned import AlignedClips
from kinema.model.world import presets as world_presets
from kinema.model.world import scene2robot
from kinema.model.world.change_code import ChangeCode
from kinema.recipes import scene2robot as recipe
from kinema.schema import KinemaError
from kinema.space.clip_shape import ClipShape
from kinema.train.checkpoint import stored
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.parallel import Group
from kinema.train.scene2robot import (
    Scene2RobotTrainConfig,
    Scene2RobotTraining,
    make_pairs,
    train_scene2robot,
)
from kinema.train.stages.scene2robot import Pairs, PairStream, pair_batch

BODIES = ("iiwa14", "panda", "ur5e", "viperx")


class _Segment:
    """Noise in place of one segment of a body's clips."""

    views = 2

    def __init__(self, dataset: SimpleNamespace, segment: str, shape: object = None, part: str = "") -> None:
        self.robot, self.name = dataset.card_name, f"{dataset.card_name} {segment}"

    def __len__(self) -> int:
        return 3

    def frames(self, rows: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(len(self.name))
        return rng.integers(0, 256, (len(rows), 5, 2, 32, 32, 3), np.uint8)


def _body(name: str) -> AlignedClips:
    of = SimpleNamespace(card_name=name)
    return AlignedClips(
        scene=_Segment(of, "empty"), alone=_Segment(of, "robot_alone"), robot=_Segment(of, "robot")
    )  # type: ignore[arg-type]


def _pairs(clips: int = 6) -> Pairs:
    g = torch.Generator().manual_seed(0)
    scene, alone, robot = torch.randn(3, clips, 40, 3, 2, 4, generator=g).half()
    return Pairs(scene=scene, alone=alone, robot=robot, card=np.array(["ur5e"] * clips), views=2)


def _config() -> Scene2RobotTrainConfig:
    return Scene2RobotTrainConfig(
        name="test",
        world=world_presets.tiny_scene2robot(),
        clips=ClipShape(frames=9, size=32),
        batch_size=2,
        loop=LoopConfig(steps=4, log_every=10, save_every=100, optim=OptimConfig(warmup_steps=2)),
    )


def _code() -> ChangeCode:
    torch.manual_seed(5)
    return ChangeCode(**world_presets.CODE_TINY).eval()


def test_two_bodies_are_never_in_a_pair_and_their_scenes_never_in_the_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sets = {name: SimpleNamespace(card_name=name) for name in BODIES}
    monkeypatch.setattr(recipe, "aligned_sets", lambda folder: sets)
    monkeypatch.setattr(recipe, "aligned_clips", lambda dataset, shape, part: _body(dataset.card_name))
    monkeypatch.setattr(recipe, "SegmentClips", _Segment)
    made = recipe.nano_scene2robot()
    paired, kept = made.paired(Path("data"), "train"), made.never_paired(Path("data"), "train")
    assert [body.body for body in paired] == ["panda", "ur5e"]
    assert [body.body for body in kept] == ["iiwa14", "viperx"]
    names = {films.name for films in recipe.nano_scene2robot_vae().clips(Path("data"), "train")}
    assert {f"{body} robot_alone" for body in BODIES} <= names
    assert not {"iiwa14 robot", "viperx robot"} & names
    pairs = make_pairs(_code(), paired, 4)
    assert sorted(pairs.card) == ["panda", "panda", "ur5e", "ur5e"]
    assert pairs.scene.shape == (4, 40, 2, 2, 4)
    monkeypatch.setattr(recipe, "aligned_sets", lambda folder: {k: sets[k] for k in ("iiwa14", "viperx")})
    with pytest.raises(KinemaError, match="holds only iiwa14, viperx, which are kept out of the pairs"):
        made.paired(Path("data"), "train")


def test_a_batch_gives_two_films_and_asks_for_the_third() -> None:
    pairs = _pairs()
    batch = pair_batch(pairs, torch.tensor([1, 4]))
    scene, alone = batch.scene.given
    torch.testing.assert_close(scene, pairs.scene[[1, 4]].float())
    torch.testing.assert_close(alone, pairs.alone[[1, 4], :, 1:].float())
    torch.testing.assert_close(batch.scene.still, scene[:, :, 1:])  # what would be seen without the robot
    torch.testing.assert_close(batch.wanted, pairs.robot[[1, 4], :, 1:].float())
    with pytest.raises(KinemaError, match="pairs need latents of one shape"):
        replace(pairs, alone=pairs.alone[:, :, 1:])


def test_processes_share_a_batch_and_the_stream_goes_on_where_it_stood() -> None:
    whole = PairStream(_pairs(), batch_size=6, seed=3)
    shares = [PairStream(_pairs(), batch_size=3, seed=3, stream=i, streams=2) for i in (0, 1)]
    for _ in range(3):
        parts = torch.stack([share.draw().wanted for share in shares], 1).flatten(0, 1)
        assert torch.equal(parts, whole.draw().wanted)
    state = whole.state
    wanted = whole.draw().wanted
    whole.state = state
    assert torch.equal(whole.draw().wanted, wanted)


def test_two_halves_of_a_run_equal_the_whole_bit_for_bit_and_make_an_artifact(tmp_path: Path) -> None:
    whole = Scene2RobotTraining(_config(), _pairs(), _code(), tmp_path / "whole")
    whole.loop.run()
    Scene2RobotTraining(_config(), _pairs(), _code(), tmp_path / "halves").loop.run(until=2)
    held_out = {"paired": _pairs(4), "never paired": _pairs(3)}
    rest = train_scene2robot(_config(), _pairs(), held_out, _code(), tmp_path / "halves", resume=True)
    for name, value in whole.loop.ema.weights.items():
        assert torch.equal(rest.loop.ema.weights[name], value), name
    assert list(rest.effects) == ["paired", "never paired"]
    about = provenance(rest)
    assert about["clips"] == {"ur5e": 6}
    assert about["unexplained"] == rest.effects
    made = scene2robot.load(rest.export(tmp_path / "artifact", about))
    assert made.provenance["steps"] == 4
    assert made.clips == _config().clips
    with pytest.raises(KinemaError, match="cannot be shared"):
        Scene2RobotTraining(replace(_config(), batch_size=3), _pairs(), _code(), tmp_path, Group(size=2))


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    training = train_scene2robot(
        replace(_config(), processes=2), _pairs(), {}, _code(), tmp_path, resume=False
    )
    assert training.loop.step == 4
    assert [path.name for path in stored(tmp_path / "checkpoint")] == ["step_000000004"]
