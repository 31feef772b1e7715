"""Laws of Scene2Robot's training: which bodies it sees, and a run that goes on bit for bit."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kinema.data.aligned import AlignedClips
from kinema.data.stream import Feed
from kinema.model.world import presets as world_presets
from kinema.model.world import scene2robot
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.latents import Pairs, pair_batch
from kinema.recipes import scene2robot as recipe
from kinema.schema import KinemaError
from kinema.space.clip_shape import ClipShape
from kinema.train.checkpoint import stored
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.recipe import Options, Recipe
from kinema.train.run import Run, run
from kinema.train.stage import Setting
from kinema.train.stages.scene2robot import Material, Scene2RobotStage, make_pairs

BODIES = ("iiwa14", "panda", "ur5e", "viperx")


class _Segment:
    """Noise in place of one segment of a body's clips."""

    views = 2

    def __init__(self, dataset: SimpleNamespace, segment: str, *_: object) -> None:
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


CLIPS = ClipShape(frames=9, size=32)


def _recipe() -> Recipe:
    held_out = {"paired": _pairs(4), "never paired": _pairs(3)}
    stage = partial(
        Scene2RobotStage, config=world_presets.tiny_scene2robot(), clips=CLIPS,
        material=lambda setting: Material(pairs=_pairs(), code=_code(), held_out=held_out),
    )  # fmt: skip
    loop = LoopConfig(steps=4, log_every=10, save_every=100, optim=OptimConfig(warmup_steps=2))
    return Recipe(name="test", summary="", data_command="", stage=stage, batch_size=2, loop=loop)


def _code() -> ChangeCode:
    torch.manual_seed(5)
    return ChangeCode(**world_presets.CODE_TINY).eval()


def test_two_bodies_are_never_in_a_pair_and_their_scenes_never_in_the_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sets = {name: SimpleNamespace(card_name=name) for name in BODIES}
    monkeypatch.setattr(recipe, "aligned_sets", lambda folder: sets)
    monkeypatch.setattr(recipe, "aligned_clips", lambda dataset, *_: _body(dataset.card_name))
    monkeypatch.setattr(recipe, "SegmentClips", _Segment)
    paired, kept = recipe.paired(Path("data"), "train"), recipe.never_paired(Path("data"), "train")
    assert [body.body for body in paired] == ["panda", "ur5e"]
    assert [body.body for body in kept] == ["iiwa14", "viperx"]
    names = {films.name for films in recipe.code_films(Path("data"), "train")}
    assert {f"{body} robot_alone" for body in BODIES} <= names
    assert not {"iiwa14 robot", "viperx robot"} & names
    pairs = make_pairs(_code(), paired, 4)
    assert sorted(pairs.card) == ["panda", "panda", "ur5e", "ur5e"]
    assert pairs.scene.shape == (4, 40, 2, 2, 4)
    monkeypatch.setattr(recipe, "aligned_sets", lambda folder: {k: sets[k] for k in ("iiwa14", "viperx")})
    with pytest.raises(KinemaError, match="holds only iiwa14, viperx, which are kept out of the pairs"):
        recipe.paired(Path("data"), "train")


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
    stage = _recipe().stage(Setting(data=Path(), out=Path()))
    whole = stage.stream(Feed(batch_size=6, seed=3))
    shares = [stage.stream(Feed(batch_size=3, seed=3, rank=i, ranks=2)) for i in (0, 1)]
    for _ in range(3):
        parts = torch.stack([share.draw().wanted for share in shares], 1).flatten(0, 1)
        assert torch.equal(parts, whole.draw().wanted)
    state = whole.state
    wanted = whole.draw().wanted
    whole.state = state
    assert torch.equal(whole.draw().wanted, wanted)


def test_two_halves_of_a_run_equal_the_whole_bit_for_bit_and_make_an_artifact(tmp_path: Path) -> None:
    whole = Run(_recipe(), tmp_path, tmp_path / "whole").train()
    Run(_recipe(), tmp_path, tmp_path / "halves").begin().run(until=2)
    rest = Run(_recipe(), tmp_path, tmp_path / "halves", Options(resume=True))
    loop = rest.train()
    for name, value in whole.ema.weights.items():
        assert torch.equal(loop.ema.weights[name], value), name
    made = scene2robot.load(rest.export(loop, tmp_path / "artifact"))
    assert list(made.provenance["judged"]["the end"]) == ["paired", "never paired"]
    assert made.provenance["clips"] == {"ur5e": 6}
    assert made.provenance["steps"] == 4
    assert made.clips == CLIPS
    with pytest.raises(KinemaError, match="cannot be shared"):
        Options(processes=2, batch_size=3).of(_recipe())


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    folder = run(_recipe(), tmp_path, tmp_path, Options(processes=2))
    assert scene2robot.load(folder).provenance["steps"] == 4
    assert [path.name for path in stored(tmp_path / "checkpoint")] == ["step_000000004"]
