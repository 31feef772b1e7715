"""From aligned clips to a scene-to-robot model: pairs of latents, loop, averaged weights, artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kinema.data.aligned import AlignedClips, SegmentClips
from kinema.model.world import scene2robot
from kinema.model.world.artifact import encode_views
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.model import WorldConfig, WorldModel
from kinema.model.world.scene2robot import Scene2Robot
from kinema.schema import KinemaError
from kinema.space.clip_shape import ClipShape
from kinema.train.cpu import keep_freed_memory
from kinema.train.device import AskedPrecision, autocast
from kinema.train.loop import Loop, LoopConfig
from kinema.train.parallel import Group, in_processes
from kinema.train.provenance import recorded
from kinema.train.record import DataPart, digest, weights_digest
from kinema.train.stages.scene2robot import Pairs, PairStream, pair_batch
from kinema.train.stages.world import Imagining
from kinema.train.world import unexplained_of

_AT_ONCE = 8  # clips that go through the code together


@dataclass(frozen=True, kw_only=True)
class Scene2RobotTrainConfig:
    """One run. count: clips of all bodies together, as many of each."""

    name: str
    world: WorldConfig
    clips: ClipShape = field(default_factory=ClipShape)
    count: int = 4000
    batch_size: int = 16
    loop: LoopConfig
    threads: int = 1
    processes: int = 1


def make_pairs(
    code: ChangeCode, bodies: Sequence[AlignedClips], count: int, seed: int = 0,
    precision: AskedPrecision = "auto",
) -> Pairs:  # fmt: skip
    """About so many clips, as many of each body, as latents."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Tensor]] = {"scene": [], "alone": [], "robot": []}
    cards: list[str] = []
    for body in bodies:
        rows = rng.permutation(len(body))[: max(1, round(count / len(bodies)))]
        cards += [body.body] * len(rows)
        for begin in tqdm(range(0, len(rows), _AT_ONCE), desc=f"latents of {body.body}", leave=False):
            for name, segment in (("scene", body.scene), ("alone", body.alone), ("robot", body.robot)):
                parts[name].append(_latents(code, segment, rows[begin : begin + _AT_ONCE], precision))
    joined = {name: torch.cat(latents) for name, latents in parts.items()}
    return Pairs(**joined, card=np.array(cards), views=bodies[0].robot.views)


@torch.no_grad()
def _latents(code: ChangeCode, segment: SegmentClips, rows: np.ndarray, precision: AskedPrecision) -> Tensor:
    with autocast(code.device, precision):  # stored in half precision anyway
        return encode_views(code, segment.frames(rows)).half()


def _parts(pairs: Pairs) -> list[DataPart]:
    """The pairs of each body by their numbers."""
    rows = {str(name): np.flatnonzero(pairs.card == name) for name in np.unique(pairs.card)}
    return [
        DataPart(
            name=f"pairs of {name}", rows=len(own),
            digest=digest(pairs.scene[own], pairs.alone[own], pairs.robot[own]),
        )
        for name, own in rows.items()
    ]  # fmt: skip


class Scene2RobotTraining:
    """A run that can be resumed and exported. The code stays as it is."""

    def __init__(
        self, config: Scene2RobotTrainConfig, pairs: Pairs, code: ChangeCode, out: Path,
        group: Group | None = None, *, resume: bool = False,
    ) -> None:  # fmt: skip
        """`group`: the processes that train together; each is given its share of every batch.

        resume: go on from the newest checkpoint below `out`
        """
        group = group or Group()
        if config.batch_size % group.size:
            raise KinemaError(f"a batch of {config.batch_size} cannot be shared by {group.size} processes")
        torch.set_num_threads(config.threads)
        keep_freed_memory()
        torch.manual_seed(config.loop.seed)
        out.mkdir(parents=True, exist_ok=True)
        self.config, self.pairs, self.code = config, pairs, code
        self.model = WorldModel(config.world)
        stage = Imagining(self.model)
        stream = PairStream(
            pairs, batch_size=config.batch_size // group.size, seed=config.loop.seed, stream=group.rank,
            streams=group.size,
        )  # fmt: skip
        record = recorded(
            config, config.world.to_json(), _parts(pairs),
            fixed={"clips": asdict(config.clips), "code": weights_digest(code)},
        )  # fmt: skip
        self.loop = Loop(self.model, stage, stage.weights, stream, config.loop, out, group, record)
        if resume:
            self.loop.resume()
        self.effects: dict[str, float] = {}  # by what is held out: how much of the robot is unexplained

    def trained(self) -> WorldModel:
        """The averaged weights as a model of their own, in eval mode."""
        model = WorldModel(self.config.world)
        model.load_state_dict({k: v.detach().clone() for k, v in self.loop.ema.weights.items()})
        return model.eval()

    def export(self, folder: Path, provenance: Mapping[str, Any]) -> Path:
        """Write the averaged weights as an artifact."""
        made = Scene2Robot(
            model=self.trained(), vae=self.code, clips=self.config.clips, provenance=provenance
        )
        scene2robot.save(folder, made, pair_batch(self.pairs, torch.arange(1)).scene)
        return folder


def train_scene2robot(
    config: Scene2RobotTrainConfig, pairs: Pairs, held_out: Mapping[str, Pairs], code: ChangeCode, out: Path,
    *, resume: bool,
) -> Scene2RobotTraining:  # fmt: skip
    """Run to the end of the budget, in `config.processes` processes that share every batch.

    What one look from pure noise leaves unexplained of the robot in each of `held_out` goes into `effects`.
    """

    def train(group: Group) -> Scene2RobotTraining:
        training = Scene2RobotTraining(config, pairs, code, out, group, resume=resume)
        training.loop.run()
        if group.is_chief:
            model = training.trained()
            for name, kept in held_out.items():
                batch = pair_batch(kept, torch.arange(len(kept)))
                training.effects[name] = unexplained_of(model, batch, config.loop.precision)
        return training

    return in_processes(config.processes, config.threads, train)
