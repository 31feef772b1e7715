"""Every stage of training at its smallest, over made-up data."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema.card.harm import SEVERITIES
from kinema.card.load import load_card
from kinema.data.footage import Footage
from kinema.data.looks import LabelledViews
from kinema.data.stream import Feed
from kinema.model.film.detector import DetectorConfig
from kinema.model.film.inverse_dynamics import InverseConfig
from kinema.model.gate.inputs import SceneReader
from kinema.model.gate.latent_dynamics import DynamicsConfig
from kinema.model.gate.samples import BodySamples, BodyScenes
from kinema.model.policy import artifact, presets
from kinema.model.policy.policy import PolicyConfig
from kinema.model.world import presets as world_presets
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.latents import Latents, Pairs
from kinema.model.world.understanding import WORDS, Understood
from kinema.recipes.debug import made_up
from kinema.train.loop import Loop, LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.parallel import Group
from kinema.train.shard import prepare
from kinema.train.stage import Setting, Stage
from kinema.train.stages import scene2robot, world
from kinema.train.stages.detector import DetectorStage
from kinema.train.stages.gate import GateStage
from kinema.train.stages.inverse import InverseStage
from kinema.train.stages.policy import PolicyStage, SftConfig
from kinema.train.stages.video_code import VideoCodeStage

LR = 1e-4
SETTING = Setting(data=Path(), out=Path())
Made = tuple[Stage[Any, Any], int]  # and its batch size


def _policy(mask: str) -> Made:
    def policy(vocab_size: int) -> PolicyConfig:
        config = presets.tiny(vocab_size)
        return replace(config, decoder=replace(config.decoder, mask=mask), late_steps=2)

    config = SftConfig(state_dropout=0.3, misnamed=0.3)
    return PolicyStage(SETTING, policy=policy, sources=made_up, config=config, vocab_size=400), 4


def _gate() -> Made:
    config = DynamicsConfig(
        members=2, steps=4, image_size=32, channels=8, cells=6, latent=16, path_width=16, words=8
    )
    bodies, scenes = [], []
    for number, name in enumerate(("panda", "aloha")):
        card, rng, N, K, T = load_card(name), np.random.default_rng(number), 5, 3, 4
        low, high = np.array([c.range for c in card.actions], np.float32).T
        state_low, state_high = np.array([c.range for c in card.states], np.float32).T
        arrays = {
            "images": rng.integers(0, 256, (N, 2, 32, 32, 3), np.uint8),
            "earlier": rng.integers(0, 256, (N, 32, 32, 3), np.uint8),
            "state": rng.uniform(state_low, state_high, (N, len(state_low))).astype(np.float32),
            "heights": rng.uniform(0, 0.1, (N, 2, 6, 6)),
            "actions": rng.uniform(low, high, (N, K, T, len(low))).astype(np.float32),
            "severity": rng.uniform(0, 1, (N, K, T, len(SEVERITIES))).astype(np.float32),
            "tool_m": rng.uniform(0, 0.5, (N, K, T, len(card.arms), 3)),
            "thing_m": rng.uniform(0, 0.5, (N, K, T, 3)),
            "thing_now_m": rng.uniform(0, 0.5, (N, 3)).astype(np.float32),
            "progress": rng.uniform(-0.1, 0.1, (N, K)),
            "seed": np.arange(N),
            "step": np.zeros(N, int),
            "instruction": np.array(["push the red block"] * N),
        }
        reader = SceneReader(card, config)
        bodies.append(BodySamples(reader, arrays))
        scenes.append(BodyScenes(reader, arrays))
    return GateStage(SETTING, config, bodies=bodies, scenes=scenes), 4


def _inverse() -> Made:
    config, card = InverseConfig(image_size=24, channels=8, width=16), load_card("panda")
    rng = np.random.default_rng(0)
    low, high = np.array([c.range for c in card.actions], np.float32).T
    state_low, state_high = np.array([c.range for c in card.states], np.float32).T
    source = Footage(
        card=card,
        pictures=rng.integers(0, 256, (9, 2, 24, 24, 3), np.uint8),
        state=rng.uniform(state_low, state_high, (9, len(state_low))).astype(np.float32),
        actions=rng.uniform(low, high, (9, 3, len(low))).astype(np.float32),
        last=np.full(9, 8),
    )
    return InverseStage(SETTING, config=config, pictures=3, sources=[source]), 4


def _detector() -> Made:
    rng = np.random.default_rng(0)
    things = ("red block", "gripper")
    points = rng.uniform(0, 1, (12, 2, 3)).astype(np.float32)
    points[..., 2] = rng.integers(0, 2, (12, 2))
    views = LabelledViews(
        things=things, images=rng.integers(0, 256, (12, 32, 32, 3), np.uint8), points=points,
        view=np.zeros(12, int), seed=np.arange(12),
    )  # fmt: skip
    return DetectorStage(SETTING, views, partial(DetectorConfig, widths=(8, 16, 16))), 4


class _Clips:
    """Noise in place of a data set's clips."""

    name, views = "noise", 2

    def __len__(self) -> int:
        return 8

    def frames(self, rows: np.ndarray) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (len(rows), 5, 2, 32, 32, 3), np.uint8)


def _code() -> Made:
    stage = VideoCodeStage(
        SETTING, code=world_presets.CODE_TINY, clips=lambda data, part, pictures: [_Clips()], fitted_on=4
    )  # type: ignore[list-item]
    return stage, 4


def _world() -> Made:
    g, clips = torch.Generator().manual_seed(0), 6
    understood = Understood(
        words=torch.randn(clips, WORDS, 192, generator=g).half(),
        word_mask=torch.ones(clips, WORDS, dtype=torch.bool),
        pictures=torch.randn(clips, 2, 36, 192, generator=g).half(),
        where=torch.rand(clips, 2, 2, 39, generator=g).half(),
        seen=torch.ones(clips, dtype=torch.bool),
    )
    latents = Latents(
        films=torch.randn(clips, 2, 40, 4, 6, 6, generator=g).half(),
        still=torch.randn(clips, 2, 40, 6, 6, generator=g).half(),
        understood=understood, card=np.array(["panda"] * clips),
    )  # fmt: skip
    policy = deepcopy(_reader())
    torch.manual_seed(0)  # whether it was read now or before
    phase = world.Phase(name="both", steps=1, tasks={"image_to_video": 1.0}, views={"all": 1.0})
    material = world.Material(latents=latents, held_out=latents, vae=_tiny_code(), policy=policy)
    return world.WorldStage(
        SETTING, config=world_presets.tiny(), phases=(phase,), material=lambda _: material
    ), 2


@cache
def _reader() -> artifact.Artifact:
    return artifact.load(Path(str(files("kinema") / "artifacts" / "nano")), check=False)


def _tiny_code() -> ChangeCode:
    return ChangeCode(**world_presets.CODE_TINY)


def _scene2robot() -> Made:
    scene, alone, robot = torch.randn(3, 6, 40, 3, 2, 4, generator=torch.Generator().manual_seed(0)).half()
    pairs = Pairs(scene=scene, alone=alone, robot=robot, card=np.array(["ur5e"] * 6), views=2)
    material = scene2robot.Material(pairs=pairs, code=_tiny_code())
    return scene2robot.Scene2RobotStage(
        SETTING, config=world_presets.tiny_scene2robot(), material=lambda _: material
    ), 2


STAGES: dict[str, Callable[[], Made]] = {
    "policy, read mask": lambda: _policy("read"),
    "policy, joint mask": lambda: _policy("joint"),
    "gate": _gate,
    "inverse dynamics": _inverse,
    "film detector": _detector,
    "video code": _code,
    "world model": _world,
    "scene to robot": _scene2robot,
}


def stage_loop(
    name: str, out: Path, device: str = "cpu", precision: Any = "fp32", steps: int = 2,
    group: Group | None = None, parts: int = 1, **outside: bool,
) -> Loop[Any]:  # fmt: skip
    """A stage about to be trained. outside: as `prepare` takes it"""
    torch.manual_seed(0)
    stage, batch_size = STAGES[name]()
    group = group or Group()
    optim = OptimConfig(lr=LR, matrix_lr=LR, warmup_steps=1)
    config = LoopConfig(
        steps=steps, device=device, precision=precision, log_every=1, save_every=2, accumulate=parts,
        optim=optim,
    )  # fmt: skip
    prepare(
        stage.model, stage.layers(), group, torch.device(device), config.computes_in, units_from=0, **outside
    )
    stream = stage.stream(
        Feed(batch_size=batch_size // (group.size * parts), rank=group.rank, ranks=group.size, parts=parts)
    )
    return Loop(stage.model, stage, stage.weights, stream, config, out, group)
