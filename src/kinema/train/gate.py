"""From labelled chunks to a trained latent dynamics: streams, loop, averaged weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from kinema.card.load import load_card
from kinema.data import hazards
from kinema.model.gate_inputs import SceneReader
from kinema.model.latent_dynamics import DynamicsConfig, LatentDynamics
from kinema.train.loop import Loop, LoopConfig
from kinema.train.stages.dynamics import BodySamples, Dynamics, HazardStream


@dataclass(frozen=True, kw_only=True)
class GateTrainConfig:
    """One run of the dynamics stage. Batches are states, each with all its chunks."""

    name: str
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    batch_size: int = 16
    loop: LoopConfig
    threads: int = 1


def load_bodies(folder: Path, config: DynamicsConfig) -> list[BodySamples]:
    """The samples of every body below a folder."""
    return [
        BodySamples(SceneReader(load_card(name), config), hazards.read_shards(folder, name))
        for name in hazards.bodies(folder)
    ]


class GateTraining:
    """A run that can be resumed; `weights` are the averaged ones to ship."""

    def __init__(self, config: GateTrainConfig, data: Path, out: Path) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.loop.seed)
        out.mkdir(parents=True, exist_ok=True)
        self.config = config
        self.bodies = load_bodies(data / "train", config.dynamics)
        self.model = LatentDynamics(config.dynamics)
        stage = Dynamics(self.model)
        stream = HazardStream(self.bodies, batch_size=config.batch_size, seed=config.loop.seed)
        self.loop = Loop(self.model, stage, stage.weights, stream, config.loop, out)

    def trained(self) -> LatentDynamics:
        """The averaged weights as a network of their own, in eval mode."""
        model = LatentDynamics(self.config.dynamics)
        model.load_state_dict({k: v.detach().cpu().clone() for k, v in self.loop.ema.weights.items()})
        return model.eval()
