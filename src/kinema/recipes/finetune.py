"""The finetune recipe: a released backbone, or an artifact, on the data sets that the user names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kinema.commands.terminal import choose
from kinema.data.frames import Way
from kinema.data.source import Source
from kinema.model.policy import artifact, presets, released
from kinema.model.policy.policy import PolicyConfig
from kinema.recipes.sources import named_sources
from kinema.schema import KinemaError
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig, Rule
from kinema.train.recipe import Recipe
from kinema.train.stage import Setting
from kinema.train.stages.policy import NETWORK, PolicyStage


def finetune() -> Recipe:
    """AdamW at the rates that policies on released backbones are trained with (starVLA's)."""
    optim = OptimConfig(
        lr=1e-4, matrix_lr=None, warmup_steps=1000, rules=(Rule(pattern="backbone.*", lr=1e-5),)
    )
    return Recipe(
        name="finetune",
        summary="a released backbone (--backbone) or an artifact (--init) on data sets of one's own",
        data_command="--data SET, once for each, and --card where a set does not say whose it is",
        stage=_stage,
        batch_size=32,
        loop=LoopConfig(steps=20_000, optim=optim),
        is_told=True,
    )


def _stage(setting: Setting) -> PolicyStage:
    told, backbone = setting.named, None
    if not told.sets:
        raise KinemaError("finetune needs data sets: --data SET, once for each")
    if setting.stored is not None:
        network = PolicyConfig.from_json(json.loads(setting.stored[NETWORK]))
    elif told.backbone is None and (told.revision or told.preset):
        raise KinemaError("--revision and --preset are of a backbone: --backbone PATH_OR_NAME")
    elif told.preset and setting.init:
        raise KinemaError(f"the decoder is that of --init; leave out --preset {told.preset}")
    elif told.backbone is not None:
        backbone = released.read(told.backbone, told.revision)
        preset = presets.PRESETS[choose("preset", told.preset or "base", list(presets.PRESETS))]
        network = backbone.policy(artifact.config_of(setting.init) if setting.init else preset())
    elif setting.init is not None:
        network = artifact.config_of(setting.init)
    else:
        raise KinemaError("finetune needs what it begins with: --backbone PATH_OR_NAME or --init ARTIFACT")

    def sources(data: Path, pictures: Way) -> Sequence[Source]:
        return named_sources(
            told.sets, pictures, card=told.card, image_size=network.source_size,
            hold_out=told.hold_out,
        )  # fmt: skip

    return PolicyStage(setting, policy=lambda _: network, sources=sources, backbone=backbone)
