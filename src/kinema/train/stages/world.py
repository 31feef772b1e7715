"""The stage that teaches the world model, in phases: which tasks, which views, for how many steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from kinema.data.clips import ClipSource, Part
from kinema.data.frames import Way
from kinema.model.device import Precision
from kinema.model.policy.artifact import Artifact
from kinema.model.world import artifact as world_artifact
from kinema.model.world.artifact import World
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.errors import unexplained
from kinema.model.world.latents import Latents, Task, Views, WorldBatch, batch_of, by_body
from kinema.model.world.model import WorldConfig, WorldModel
from kinema.model.world.presets import told
from kinema.schema import KinemaError
from kinema.space.clip_shape import ClipShape
from kinema.train.latents import body_parts, make_latents
from kinema.train.record import weights_digest
from kinema.train.stage import MadeOf, RowStage, Setting, start_from
from kinema.train.stages.video_code import finished_code

_HELD_OUT = 64  # clips of each body that the phases are judged on
_TASKS, _VIEWS = get_args(Task), get_args(Views)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of the curriculum. Shares of tasks, views and bodies add up to 1; the last phase has no end.

    bodies: by card, how much of every batch is theirs, whatever their number of clips; empty: all clips alike
    """

    name: str
    steps: int
    tasks: Mapping[Task, float]
    views: Mapping[Views, float]
    bodies: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, known in (("tasks", _TASKS), ("views", _VIEWS)):
            if unknown := set(getattr(self, what)) - set(known):
                raise ValueError(f"phase {self.name!r}: unknown {what} {unknown}; choices {known}")
        for what in ("tasks", "views", "bodies"):
            given = getattr(self, what)
            if given and abs(sum(given.values()) - 1) > 1e-6:
                raise ValueError(f"phase {self.name!r}: shares of {what} add up to {sum(given.values())}")


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a run learns from and what it leaves as it is. held_out: what its phases are judged on."""

    latents: Latents
    held_out: Latents
    vae: ChangeCode
    policy: Artifact


def read_material(
    setting: Setting, *, clips: Callable[[Path, Part, Way], list[ClipSource]], count: Mapping[str, int],
    code: str, reader: Callable[[], Artifact],
) -> Material:  # fmt: skip
    """Clips below the data folder, through the code that the run of the recipe `code` beside this one made.

    count: clips of each body; of one that is not named, all that there are. reader: of first pictures
    """
    vae, policy = finished_code(code, setting.out), reader()

    def made(part: Part, count: Mapping[str, int]) -> Latents:
        sources = clips(setting.data, part, setting.pictures)
        count = dict.fromkeys(count, 8) if setting.is_planned else count
        return make_latents(vae, policy, sources, count, setting.seed, precision=setting.precision)

    few = dict.fromkeys(count, _HELD_OUT)
    return Material(latents=made("train", count), held_out=made("validation", few), vae=vae, policy=policy)


class FilmStage(RowStage[WorldModel, WorldBatch]):
    """Learns from latents; what made them stays as it is. The loss is the world model's own."""

    weights: Mapping[str, float] = {"flow": 1.0}

    def __call__(self, batch: WorldBatch, generator: torch.Generator) -> dict[str, Tensor]:
        batch = batch.to(self.device)
        return {"flow": self.model(batch.scene, batch.wanted, generator)}


class WorldStage(FilmStage):
    """Code and reader stay as they are. A batch is of one task and one choice of views."""

    def __init__(
        self, setting: Setting, *, config: WorldConfig, phases: Sequence[Phase],
        material: Callable[[Setting], Material], clips: ClipShape | None = None,
    ) -> None:  # fmt: skip
        start = world_artifact.load(setting.init).model if setting.init else None
        self.material, self._curriculum, self.clips = material(setting), phases, clips or ClipShape()
        latents = self.material.latents
        if not len(latents) or not phases:
            raise KinemaError("a world model needs clips and at least one phase")
        self._shares = {phase.name: _shares(phase, latents.card) for phase in phases}
        self._precision: Precision = setting.precision
        self.model = WorldModel(config)
        if start is not None:
            if told(start.config, "multimodal") != told(config, "multimodal"):  # the same network
                raise KinemaError(
                    "a world model can only start from the weights of one that is configured alike"
                )
            start_from(self.model, start)
        ends = accumulate(phase.steps for phase in phases[:-1])
        self.phases = [(phase.name, end) for phase, end in zip(phases, ends)]
        self.made_of = MadeOf(
            network=config.to_json(),
            data=body_parts("clips", latents.card, latents.films, latents.still),
            fixed={
                "clips": asdict(self.clips),
                "code": weights_digest(self.material.vae),
                "reader": weights_digest(self.material.policy.policy),
            },
            noted={"phases": [asdict(phase) for phase in phases]},
        )

    def phase(self, drawn: int) -> Phase:
        """The phase of this batch."""
        ended = sum(end <= drawn for _, end in self.phases)
        return self._curriculum[ended]

    def choose(self, rng: np.random.Generator, count: int, drawn: int) -> np.ndarray:
        """Clip, and, the same in a batch, the numbers of task and views."""
        phase = self.phase(drawn)
        task = rng.choice([_TASKS.index(t) for t in phase.tasks], p=list(phase.tasks.values()))
        views = rng.choice([_VIEWS.index(v) for v in phase.views], p=list(phase.views.values()))
        clips = rng.choice(len(self.material.latents), count, p=self._shares[phase.name])
        return np.stack([clips, np.full(count, task), np.full(count, views)], 1)

    def gather(self, rows: np.ndarray) -> WorldBatch:
        _, task, views = rows[0]
        return batch_of(self.material.latents, torch.from_numpy(rows[:, 0]), _TASKS[task], _VIEWS[views])

    def origin(self, rows: np.ndarray) -> list[str]:
        return [f"{self.material.latents.card[row]}, clip {row} of the latents" for row in rows[:, 0]]

    def judge(self, model: WorldModel) -> Mapping[str, Any]:
        """By body, what is then `unexplained` of the held-out films."""
        return unexplained(model, self.material.held_out, self._precision)

    def provenance(self) -> Mapping[str, Any]:
        return {
            "clips": {name: len(own) for name, own in by_body(self.material.latents.card).items()},
            "policy": dict(self.material.policy.provenance),
        }

    def export(
        self, model: WorldModel, folder: Path, provenance: Mapping[str, Any], judged: Mapping[str, Any]
    ) -> None:
        made = self.material
        world = World(model=model, vae=made.vae, policy=made.policy, clips=self.clips, provenance=provenance)
        example = batch_of(made.latents, torch.arange(1), "image_to_video", "all").scene
        world_artifact.save(folder, world, example)


def _shares(phase: Phase, card: np.ndarray) -> np.ndarray:
    """How likely each clip (M,) is drawn."""
    names, counts = np.unique(card, return_counts=True)
    if missing := sorted(set(phase.bodies) - set(names)):
        raise KinemaError(
            f"phase {phase.name!r} wants clips of {', '.join(missing)}; there are some of {', '.join(names)}"
        )
    each = {name: phase.bodies.get(name, 0.0) / count for name, count in zip(names, counts)}
    return np.array([each[name] if phase.bodies else 1 / len(card) for name in card])
