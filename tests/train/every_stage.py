"""Every stage of training at its smallest, over made-up data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kinema import recipes
from kinema.card.harm import SEVERITIES
from kinema.card.load import load_card
from kinema.data.looks import LabelledViews
from kinema.data.mixture import Mixture
from kinema.data.source import measure_stats
from kinema.data.text import TextTokenizer
from kinema.model.film.detector import DetectorConfig, FilmDetector
from kinema.model.film.inverse_dynamics import InverseConfig, InverseDynamics
from kinema.model.gate.inputs import SceneReader
from kinema.model.gate.latent_dynamics import DynamicsConfig, LatentDynamics
from kinema.model.policy import presets
from kinema.model.policy.policy import Policy
from kinema.model.world import presets as world_presets
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.model import WorldModel
from kinema.model.world.understanding import WORDS, Understood
from kinema.space.codec import Codec
from kinema.train.loop import Loop, LoopConfig, Stream
from kinema.train.optim import OptimConfig
from kinema.train.stages.detector import Detection, LookStream
from kinema.train.stages.dynamics import BodySamples, BodyScenes, Dynamics, HazardStream
from kinema.train.stages.inverse import FilmStream, Footage, Inverse, codec_of
from kinema.train.stages.scene2robot import Pairs, PairStream
from kinema.train.stages.sft import Sft, SftConfig
from kinema.train.stages.vae import ClipStream, Reconstruction
from kinema.train.stages.world import Imagining, Latents, LatentStream, Phase

Stage = tuple[nn.Module, Any, Stream[Any]]


def _policy(mask: str) -> Stage:
    sources = recipes.get("debug").sources(Path())
    tokenizer = TextTokenizer.train([task for source in sources for task in source.tasks], 400)
    codecs = {source.card.name: Codec(source.card, *measure_stats([source], 16)) for source in sources}
    config = presets.tiny(tokenizer.vocab_size)
    policy = Policy(replace(config, decoder=replace(config.decoder, mask=mask)))
    mixture = Mixture(
        sources, codecs, tokenizer, batch_size=4, horizon=16, seed=0, misnamed=0.3, late_steps=2
    )
    return policy, Sft(policy, SftConfig(state_dropout=0.3)), mixture


def _gate() -> Stage:
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
            "instruction": np.array(["push the red block"] * N),
        }
        reader = SceneReader(card, config)
        bodies.append(BodySamples(reader, arrays))
        scenes.append(BodyScenes(reader, arrays))
    model = LatentDynamics(config)
    return model, Dynamics(model), HazardStream(bodies, batch_size=4, seed=0, scenes=scenes)


def _inverse() -> Stage:
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
    model = InverseDynamics(config)
    stream = FilmStream([source], {"panda": codec_of([source])}, config, batch_size=4, pictures=3, seed=0)
    return model, Inverse(model), stream


def _detector() -> Stage:
    rng = np.random.default_rng(0)
    things = ("red block", "gripper")
    points = rng.uniform(0, 1, (12, 2, 3)).astype(np.float32)
    points[..., 2] = rng.integers(0, 2, (12, 2))
    views = LabelledViews(
        things=things, images=rng.integers(0, 256, (12, 32, 32, 3), np.uint8), points=points,
        view=np.zeros(12, int), seed=np.arange(12),
    )  # fmt: skip
    model = FilmDetector(DetectorConfig(things=things, image_size=32, widths=(8, 16, 16)))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, Detection(model), LookStream(views, batch_size=4, seed=0)


class _Clips:
    """Noise in place of a data set's clips."""

    name, views = "noise", 2

    def __len__(self) -> int:
        return 8

    def frames(self, rows: np.ndarray) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (len(rows), 5, 2, 32, 32, 3), np.uint8)


def _code() -> Stage:
    code = ChangeCode(**world_presets.CODE_TINY)
    code.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return code, Reconstruction(code), ClipStream([_Clips()], batch_size=4, seed=0)  # type: ignore[list-item]


def _world() -> Stage:
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
    phase = Phase(name="both", steps=1, tasks={"image_to_video": 1.0}, views={"all": 1.0})
    model = WorldModel(world_presets.tiny())
    return model, Imagining(model), LatentStream(latents, (phase,), batch_size=2, seed=0)


def _scene2robot() -> Stage:
    scene, alone, robot = torch.randn(3, 6, 40, 3, 2, 4, generator=torch.Generator().manual_seed(0)).half()
    pairs = Pairs(scene=scene, alone=alone, robot=robot, card=np.array(["ur5e"] * 6), views=2)
    model = WorldModel(world_presets.tiny_scene2robot())
    return model, Imagining(model), PairStream(pairs, batch_size=2, seed=0)


STAGES: dict[str, Callable[[], Stage]] = {
    "policy, read mask": lambda: _policy("read"),
    "policy, joint mask": lambda: _policy("joint"),
    "gate": _gate,
    "inverse dynamics": _inverse,
    "film detector": _detector,
    "video code": _code,
    "world model": _world,
    "scene to robot": _scene2robot,
}


def stage_loop(name: str, out: Path, device: str, precision: Any = "fp32", steps: int = 2) -> Loop[Any]:
    torch.manual_seed(0)
    model, stage, stream = STAGES[name]()
    optim = OptimConfig(lr=1e-4, matrix_lr=1e-4, warmup_steps=1)
    config = LoopConfig(
        steps=steps, device=device, precision=precision, log_every=1, save_every=2, optim=optim
    )
    return Loop(model, stage, stage.weights, stream, config, out)
