"""From clips to a video code and a world model: streams, loop, averaged weights, artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from kinema.data.clips import ClipShape, ClipSource
from kinema.model.video_vae import VideoVae
from kinema.train.cpu import keep_freed_memory
from kinema.train.loop import Loop, LoopConfig
from kinema.train.stages.vae import ClipStream, Reconstruction, measure_statistics, psnr_db, view_by_view


@dataclass(frozen=True, kw_only=True)
class VaeTrainConfig:
    """One run of the video code. vae: the stock class's keys; batch_size: in clips of five frames."""

    name: str
    vae: dict
    clips: ClipShape = field(default_factory=ClipShape)
    batch_size: int = 2
    loop: LoopConfig
    threads: int = 1


class VaeTraining:
    """A run that can be resumed; `trained` has the averaged weights and the latents' statistics."""

    def __init__(self, config: VaeTrainConfig, sources: Sequence[ClipSource], out: Path) -> None:
        torch.set_num_threads(config.threads)
        keep_freed_memory()
        torch.manual_seed(config.loop.seed)
        out.mkdir(parents=True, exist_ok=True)
        self.config, self.sources = config, sources
        self.vae = VideoVae.build(config.vae)
        stage = Reconstruction(self.vae)
        stream = ClipStream(sources, batch_size=config.batch_size, seed=config.loop.seed)
        self.loop = Loop(self.vae, stage, stage.weights, stream, config.loop, out)

    def trained(self, clips: int = 48) -> VideoVae:
        """The averaged weights as a code of their own, statistics measured on so many clips."""
        vae = VideoVae.build(self.config.vae)
        vae.load_state_dict({k: v.detach().clone() for k, v in self.loop.ema.weights.items()})
        measure_statistics(vae.eval(), _some(self.sources, clips, seed=1))
        return vae

    def export(self, folder: Path) -> Path:
        """The code in diffusers' format."""
        self.trained().net.save_pretrained(folder)
        return folder


def psnr_of(vae: VideoVae, sources: Sequence[ClipSource], clips: int = 48) -> float:
    """PSNR [dB] of whole clips after the round trip."""
    return psnr_db(vae, _some(sources, clips, seed=2))


def _some(sources: Sequence[ClipSource], clips: int, seed: int) -> list[torch.Tensor]:
    """About so many whole clips, evenly over the sources."""
    rng = np.random.default_rng(seed)
    each = max(1, clips // len(sources))
    return [
        view_by_view(source.frames(rng.choice(len(source), min(each, len(source)), replace=False)))
        for source in sources
    ]
