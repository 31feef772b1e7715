"""From clips to a video code and a world model: streams, loop, averaged weights, artifacts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from kinema.data.clips import KEPT_BACK_EVERY, ClipSource, Films
from kinema.model.policy.artifact import Artifact
from kinema.model.world import artifact as world_artifact
from kinema.model.world.artifact import World
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.model import WorldConfig, WorldModel
from kinema.model.world.presets import told
from kinema.model.world.understanding import join, understand
from kinema.model.world.video_vae import to_unit, view_by_view
from kinema.schema import KinemaError
from kinema.space.clip_shape import ClipShape
from kinema.train.cpu import keep_freed_memory
from kinema.train.device import AskedPrecision, autocast
from kinema.train.loop import Loop, LoopConfig
from kinema.train.parallel import Group, in_processes
from kinema.train.provenance import recorded
from kinema.train.record import DataPart, digest, weights_digest
from kinema.train.stages.vae import ClipStream, Reconstruction, psnr_db
from kinema.train.stages.world import Imagining, Latents, LatentStream, Phase, WorldBatch, batch_of

_AT_ONCE = 8  # whole clips that go through the code together


@dataclass(frozen=True, kw_only=True)
class VaeTrainConfig:
    """One run of the small video code. code: its keys; batch_size: films of five pictures, of one view."""

    name: str
    code: dict
    fitted_on: int = 240  # clips that the components, of first pictures and of details, are found on
    batch_size: int = 24
    loop: LoopConfig
    threads: int = 1
    processes: int = 1


class VaeTraining:
    """A run that can be resumed; `trained` has the averaged weights."""

    def __init__(
        self, config: VaeTrainConfig, sources: Sequence[Films], out: Path, group: Group | None = None,
        *, resume: bool = False, init: ChangeCode | None = None,
    ) -> None:  # fmt: skip
        """`group`: the processes that train together; each is given its share of every batch.

        resume: go on from the checkpoint below `out`; init: a code whose weights are where this one starts
        """
        group = group or Group()
        torch.set_num_threads(config.threads)
        keep_freed_memory()
        torch.manual_seed(config.loop.seed)
        out.mkdir(parents=True, exist_ok=True)
        self.config, self.sources = config, sources
        self.code = ChangeCode(**config.code)
        if init is not None:
            self._start_from(init)
        if not resume:  # a checkpoint holds the components
            self.code.fit_first(to_unit(clip[:, :, 0]) for clip in _some(sources, config.fitted_on, seed=0))
        self.code.to(memory_format=torch.channels_last)
        stage = Reconstruction(self.code)
        stream = ClipStream(
            sources, batch_size=config.batch_size // group.size, seed=config.loop.seed, stream=group.rank,
            streams=group.size,
        )  # fmt: skip
        record = recorded(config, _size(self.code), [_film_part(source) for source in sources])
        self.loop = Loop(self.code, stage, stage.weights, stream, config.loop, out, group, record)
        if resume:
            self.loop.resume()

    def _start_from(self, init: ChangeCode) -> None:
        ours, theirs = (_size(code) for code in (self.code, init))
        if ours != theirs:
            raise KinemaError(f"a code of {ours} cannot start from the weights of one of {theirs}")
        self.code.load_state_dict(init.state_dict())

    def trained(self) -> ChangeCode:
        """The averaged weights as a code of their own, in eval mode; its details are found now."""
        code = ChangeCode(**self.config.code)
        code.load_state_dict({k: v.detach().clone() for k, v in self.loop.ema.weights.items()})
        code.eval().fit_details(to_unit(clip) for clip in _some(self.sources, self.config.fitted_on, seed=1))
        return code


def _film_part(source: Films) -> DataPart:
    """A source by its length and a few of its pictures."""
    rows = np.linspace(0, len(source) - 1, min(2, len(source))).astype(int)
    return DataPart(
        name=source.name, rows=len(source), digest=digest(len(source), source.frames(rows)[:, [0, -1]])
    )


def _size(code: ChangeCode) -> dict[str, Any]:
    """What the code was built with, without what diffusers adds when it is read from a file."""
    return {name: value for name, value in code.config.items() if not name.startswith("_")}


def save_vae(code: ChangeCode, folder: Path) -> Path:
    """The code in diffusers' format: `vae` below the folder."""
    code.save_pretrained(folder / "vae")
    return folder


def train_vae(
    config: VaeTrainConfig, sources: Sequence[Films], out: Path, *, resume: bool,
    init: ChangeCode | None = None,
) -> VaeTraining:  # fmt: skip
    """Run to the end of the budget, in `config.processes` processes that share every batch."""

    def train(group: Group) -> VaeTraining:
        training = VaeTraining(config, sources, out, group, resume=resume, init=init)
        training.loop.run()
        return training

    return in_processes(config.processes, config.threads, train)


def load_vae(folder: Path) -> ChangeCode:
    """What `save_vae` wrote."""
    return ChangeCode.from_pretrained(folder / "vae", low_cpu_mem_usage=False).eval()


def psnr_of(
    code: ChangeCode, sources: Sequence[Films], clips: int = 48, *, first_known: bool = True
) -> float:
    """PSNR [dB] of the later pictures of whole clips after the round trip."""
    return psnr_db(code, _some(sources, clips, seed=2), first_known=first_known)


def _some(sources: Sequence[Films], clips: int, seed: int) -> Iterator[torch.Tensor]:
    """About so many whole clips, evenly over the sources, a few at a time."""
    _some_there(sources)
    rng = np.random.default_rng(seed)
    each = max(1, clips // len(sources))
    for source in sources:
        rows = rng.choice(len(source), min(each, len(source)), replace=False)
        for at in range(0, len(rows), _AT_ONCE):
            yield view_by_view(source.frames(rows[at : at + _AT_ONCE]))


def _some_there(sources: Sequence[Films]) -> None:
    if not sum(map(len, sources)):
        names = ", ".join(sorted({source.name for source in sources}))
        raise KinemaError(
            f"no clips of {names}: one episode of {KEPT_BACK_EVERY} is kept back for judging, so at least "
            f"so many are needed"
        )


def make_latents(
    vae: ChangeCode,
    policy: Artifact,
    sources: Sequence[ClipSource],
    count: Mapping[str, int],
    seed: int = 0,
    batch: int = 16,
    precision: AskedPrecision = "auto",
) -> Latents:
    """About so many clips of each body, half of them episodes' beginnings, as latents and what was understood
    of them. `count`: as in `WorldTrainConfig`"""
    _some_there(sources)
    rng = np.random.default_rng(seed)
    there = Counter[str]()
    for source in sources:
        there[source.card.name] += len(source)
    parts: list[Latents] = []
    for source in sources:
        body = source.card.name
        share = min(1.0, count.get(body, there[body]) / there[body])
        rows = _chosen(source, max(1, round(share * len(source))), rng)
        for at in tqdm(range(0, len(rows), batch), desc=f"latents of {source.name}", leave=False):
            parts.append(_latents_of(vae, policy, source, rows[at : at + batch], precision))
    return Latents(
        films=torch.cat([p.films for p in parts]),
        still=torch.cat([p.still for p in parts]),
        understood=join([p.understood for p in parts]),
        card=np.concatenate([p.card for p in parts]),
    )


def _chosen(source: ClipSource, count: int, rng: np.random.Generator) -> np.ndarray:
    """Half beginnings of episodes, half any clips, as far as there are enough of each."""
    begins = np.flatnonzero(np.diff(source.episode, prepend=-1))
    first = rng.permutation(begins)[: max(1, count // 2)]
    rest = np.setdiff1d(np.arange(len(source)), first)
    return np.concatenate([first, rng.permutation(rest)[: count - len(first)]])


@torch.no_grad()
def _latents_of(
    vae: ChangeCode, policy: Artifact, source: ClipSource, rows: np.ndarray, precision: AskedPrecision
) -> Latents:
    frames = source.frames(rows)  # (n, F, V, S, S, 3)
    n, _, V = frames.shape[:3]
    views = view_by_view(frames)
    with autocast(vae.device, precision):  # stored in half precision anyway
        films = vae.encode(views).unflatten(0, (n, V))
        still = vae.still(views[:, :, 0]).unflatten(0, (n, V))
    return Latents(
        films=films.half(),
        still=still.half(),
        understood=understand(
            policy, source.card, frames[:, 0], source.instructions(rows), source.cameras
        ).half(),
        card=np.full(n, source.card.name),
    )


@dataclass(frozen=True, kw_only=True)
class WorldTrainConfig:
    """One run of the world model. count: clips of each body; of one that is not named, all that there are."""

    name: str
    world: WorldConfig
    clips: ClipShape = field(default_factory=ClipShape)
    phases: tuple[Phase, ...]
    count: Mapping[str, int] = field(default_factory=dict)
    batch_size: int = 32
    loop: LoopConfig
    threads: int = 1
    processes: int = 1


class WorldTraining:
    """A run that can be resumed and exported. Code and policy stay as they are."""

    def __init__(
        self, config: WorldTrainConfig, latents: Latents, vae: ChangeCode, policy: Artifact, out: Path,
        group: Group | None = None, *, init: WorldModel | None = None, resume: bool = False,
    ) -> None:  # fmt: skip
        """`group`: the processes that train together; each is given its share of every batch.

        init: a model whose weights are where this one starts; resume: go on from the newest checkpoint
        """
        group = group or Group()
        if config.batch_size % group.size:
            raise KinemaError(f"a batch of {config.batch_size} cannot be shared by {group.size} processes")
        torch.set_num_threads(config.threads)
        keep_freed_memory()
        torch.manual_seed(config.loop.seed)
        out.mkdir(parents=True, exist_ok=True)
        self.config, self.latents, self.vae, self.policy, self.out = config, latents, vae, policy, out
        self.model = WorldModel(config.world)
        if init is not None:
            if told(init.config, "multimodal") != told(config.world, "multimodal"):  # the same network
                raise KinemaError(
                    "a world model can only start from the weights of one that is configured alike"
                )
            self.model.load_state_dict(init.state_dict())
        stage = Imagining(self.model)
        stream = LatentStream(
            latents, config.phases, batch_size=config.batch_size // group.size, seed=config.loop.seed,
            stream=group.rank, streams=group.size,
        )  # fmt: skip
        record = recorded(
            config,
            config.world.to_json(),
            _latent_parts(latents),
            fixed={
                "clips": asdict(config.clips),
                "code": weights_digest(vae),
                "reader": weights_digest(policy.policy),
            },
            noted={"phases": [asdict(phase) for phase in config.phases]},
        )
        self.loop = Loop(self.model, stage, stage.weights, stream, config.loop, out, group, record)
        if resume:
            self.loop.resume()
        self.effects: dict[str, dict[str, float]] = {}  # by phase and body: what is unexplained after it

    def trained(self) -> WorldModel:
        """The averaged weights as a model of their own, in eval mode."""
        model = WorldModel(self.config.world)
        model.load_state_dict({k: v.detach().clone() for k, v in self.loop.ema.weights.items()})
        return model.eval()

    def world(self, provenance: Mapping[str, Any]) -> World:
        return World(
            model=self.trained(), vae=self.vae, policy=self.policy, clips=self.config.clips,
            provenance=provenance,
        )  # fmt: skip

    def export(self, folder: Path, provenance: Mapping[str, Any]) -> Path:
        """Write the averaged weights as an artifact."""
        example = batch_of(self.latents, torch.arange(1), "image_to_video", "all").scene
        world_artifact.save(folder, self.world(provenance), example)
        return folder


def _latent_parts(latents: Latents) -> list[DataPart]:
    """The clips of each body by their numbers."""
    rows = {str(name): np.flatnonzero(latents.card == name) for name in np.unique(latents.card)}
    return [
        DataPart(
            name=f"clips of {name}", rows=len(own), digest=digest(latents.films[own], latents.still[own])
        )
        for name, own in rows.items()
    ]


def unexplained(model: WorldModel, held_out: Latents, precision: AskedPrecision = "auto") -> dict[str, float]:
    """By body, the share of what moves in held-out films (squared, all views, image to video) that one look
    does not foretell: 0 is the truth, 1 is as if nothing moved."""
    rows = {
        str(name): torch.from_numpy(held_out.card == name).nonzero()[:, 0]
        for name in np.unique(held_out.card)
    }
    return {
        name: unexplained_of(model, batch_of(held_out, own, "image_to_video", "all"), precision)
        for name, own in rows.items()
    }


@torch.inference_mode()
def unexplained_of(model: WorldModel, batch: WorldBatch, precision: AskedPrecision = "auto") -> float:
    """The same of any scenes whose films are known."""
    noise = torch.randn(batch.wanted.shape, generator=torch.Generator().manual_seed(0))
    with autocast(noise.device, precision):
        made = model.sample(batch.scene, noise, steps=1)
    moving = (batch.wanted - batch.scene.still).square().sum()
    return float((made - batch.wanted).square().sum() / moving)


def train_world(
    config: WorldTrainConfig, latents: Latents, held_out: Latents, vae: ChangeCode, policy: Artifact,
    out: Path, *, resume: bool, init: WorldModel | None = None,
) -> WorldTraining:  # fmt: skip
    """Run to the end of the budget, in `config.processes` processes that share every batch.

    After each phase that took steps, what is then `unexplained` of the held-out films goes into `effects`.
    """

    def train(group: Group) -> WorldTraining:
        training = WorldTraining(config, latents, vae, policy, out, group, init=init, resume=resume)
        ends = [*accumulate(phase.steps for phase in config.phases[:-1]), None]
        for phase, end in zip(config.phases, ends):
            begin = training.loop.step
            training.loop.run(until=end)
            if group.is_chief and training.loop.step > begin:  # not where it ended before, or never began
                training.effects[phase.name] = unexplained(
                    training.trained(), held_out, config.loop.precision
                )
        return training

    return in_processes(config.processes, config.threads, train)
