"""The stage that teaches the latent dynamics what chunks lead to, from labelled chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kinema.card.card import EmbodimentCard
from kinema.card.harm import events
from kinema.data.mixture import MixtureState
from kinema.model.gate.inputs import SceneReader
from kinema.model.gate.latent_dynamics import HEIGHT_SCALE_M, PRESENT_M, LatentDynamics, Scenes
from kinema.train.record import digest

_TOLD = 0.25  # share of states that are told the true heights
_WITHOUT_EARLIER = 0.3  # share of states that must do with the present picture, as a first question does


@dataclass(frozen=True, kw_only=True)
class DynamicsBatch:
    """B states with K chunks each, and what the simulator says of them.

    path (B, K, T, A, F); events (B, K, T, E) in [0, 1]; heights (B, 2, G, G) [m]; tool_m (B, K, T, A, 3);
    shift_m (B, K, T, 3), how far the thing has moved; progress (B, K) [m]
    """

    scenes: Scenes
    path: Tensor
    events: Tensor
    heights: Tensor
    tool_m: Tensor
    shift_m: Tensor
    progress: Tensor
    more: tuple[Scenes, Tensor] | None = None  # scenes to look at only, and their heights

    def __len__(self) -> int:
        return len(self.path)

    def to(self, device: torch.device) -> DynamicsBatch:
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "more"}
        more = None if self.more is None else (self.more[0].to(device), self.more[1].to(device))
        return DynamicsBatch(**moved, more=more)


class BodySamples:
    """All samples of one body in memory, as `data.hazards.read_shards` gives them."""

    def __init__(self, reader: SceneReader, arrays: Mapping[str, np.ndarray]) -> None:
        self.reader, self._arrays = reader, arrays
        self.path = reader.paths.path(arrays["actions"], arrays["state"][:, None])
        self.events = events(arrays["severity"])
        self._tool = _by_side(reader.card, arrays["tool_m"].astype(np.float32))

    def __len__(self) -> int:
        return len(self._arrays["seed"])

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def digest(self) -> str:
        """A fingerprint of what was tried and what came of it."""
        return digest(*(self._arrays[name] for name in ("seed", "step", "state", "actions", "severity")))

    def batch(self, rows: np.ndarray) -> DynamicsBatch:
        a = self._arrays
        thing = a["thing_m"][rows].astype(np.float32)
        return DynamicsBatch(
            scenes=self.reader.scenes(
                a["images"][rows], a["earlier"][rows], a["state"][rows], list(a["instruction"][rows])
            ),
            path=torch.from_numpy(self.path[rows]),
            events=torch.from_numpy(self.events[rows]),
            heights=torch.from_numpy(a["heights"][rows].astype(np.float32)),
            tool_m=torch.from_numpy(self._tool[rows]),
            shift_m=torch.from_numpy(thing - a["thing_now_m"][rows][:, None, None]),
            progress=torch.from_numpy(a["progress"][rows].astype(np.float32)),
        )


class BodyScenes:
    """Scenes of one body that nothing was tried in: pictures, and what stands where."""

    def __init__(self, reader: SceneReader, arrays: Mapping[str, np.ndarray]) -> None:
        self.reader, self._arrays = reader, arrays

    def __len__(self) -> int:
        return len(self._arrays["state"])

    def digest(self) -> str:
        """A fingerprint of the states and what stands where."""
        return digest(self._arrays["state"], self._arrays["heights"])

    def draw(self, rows: np.ndarray) -> tuple[Scenes, Tensor]:
        a = self._arrays
        scenes = self.reader.scenes(
            a["images"][rows], a["earlier"][rows], a["state"][rows], list(a["instruction"][rows])
        )
        return scenes, torch.from_numpy(a["heights"][rows].astype(np.float32))


class HazardStream:
    """An endless stream of batches of several bodies; its state is a seed and a count, like the mixture's.

    scenes: what is looked at beside them, one group per batch
    """

    def __init__(
        self, bodies: list[BodySamples], *, batch_size: int, seed: int, scenes: Sequence[BodyScenes] = ()
    ) -> None:
        self.bodies, self.batch_size, self.scenes = bodies, batch_size, scenes
        self.state = MixtureState(seed=seed, drawn=0)
        sizes = np.array([len(body) for body in bodies], np.float64)
        self._shares = sizes / sizes.sum()
        self._drawn: list[str] = []

    def draw(self) -> DynamicsBatch:
        rng = np.random.default_rng([self.state.seed, self.state.drawn])
        self.state = replace(self.state, drawn=self.state.drawn + 1)
        picks = np.bincount(
            rng.choice(len(self.bodies), self.batch_size, p=self._shares), minlength=len(self.bodies)
        )
        parts, self._drawn = [], []
        for body, count in zip(self.bodies, picks):
            if count:
                rows = rng.integers(0, len(body), count)
                parts.append(body.batch(rows))
                self._drawn += [
                    f"{body.reader.card.name}, state {row}, seed {body['seed'][row]}" for row in rows
                ]
        batch = join(parts)
        if self.scenes:
            group = self.scenes[int(rng.integers(len(self.scenes)))]
            rows = rng.integers(0, len(group), self.batch_size)
            batch = replace(batch, more=group.draw(rows))
            looked = f"scene of {group.reader.card.name}"
            self._drawn = [f"{name} (or {looked} {row})" for name, row in zip(self._drawn, rows)]
        return batch

    def origin(self) -> list[str]:
        """Which state each row of the batch drawn last is, and which scene is looked at beside it."""
        return self._drawn


def join(parts: list[DynamicsBatch]) -> DynamicsBatch:
    """Batches of several bodies as one."""
    scenes = Scenes(**{f.name: torch.cat([getattr(p.scenes, f.name) for p in parts]) for f in fields(Scenes)})
    rest = {
        f.name: torch.cat([getattr(p, f.name) for p in parts])
        for f in fields(DynamicsBatch)
        if f.name not in ("scenes", "more")
    }
    return DynamicsBatch(scenes=scenes, **rest)  # type: ignore[arg-type]


class Dynamics:
    """Objective and loss weights. Each member leaves out a share of the states, its own each time."""

    def __init__(self, model: LatentDynamics, *, left_out: float = 0.2) -> None:
        self.model, self.left_out = model, left_out
        self.weights = {"events": 1.0, "there": 2.0, "heights": 0.2, "points": 0.5, "progress": 0.3}

    def __call__(self, batch: DynamicsBatch, generator: torch.Generator) -> dict[str, Tensor]:
        # randomness is drawn on the CPU, so that it is the same on every device
        device = next(self.model.parameters()).device
        light = _other_light(batch.scenes, generator)
        M, B = self.model.config.members, len(batch)
        # some states are told the true heights: what paths over them lead to is then learnt from the start
        told = torch.rand(B, generator=generator) < _TOLD
        use = (torch.rand(M, B, generator=generator) >= self.left_out).float()
        use = (use / use.sum().clamp_min(1.0)).to(device)
        more = None if batch.more is None else (_other_light(batch.more[0], generator), batch.more[1])
        batch = replace(batch, scenes=light, more=more).to(device)
        seen, foreseen = self.model(batch.scenes, batch.path, (batch.heights, told.to(device)))

        def over_members(loss: Tensor) -> Tensor:
            """loss (M, B, ...), averaged over what each member learns from."""
            return (loss.flatten(2).mean(2) * use).sum()

        wanted = batch.events.expand(M, *batch.events.shape)
        event = functional.binary_cross_entropy_with_logits(foreseen.events, wanted, reduction="none")
        arms = batch.scenes.arm_mask[None, :, None, None, :, None]
        tool = (10 * (foreseen.tool_m - batch.tool_m)).abs() * arms
        thing = 10 * (foreseen.thing_m - batch.shift_m).abs()
        progress = functional.smooth_l1_loss(
            10 * foreseen.progress, 10 * batch.progress.expand(M, -1, -1), reduction="none"
        )
        layers, true = seen.layers, batch.heights
        if batch.more is not None:
            layers = torch.cat([layers, self.model.see(batch.more[0]).layers])
            true = torch.cat([true, batch.more[1]])
        there = (true > PRESENT_M).float()
        logits, heights = layers.split(2, 1)
        wrong = (heights - true / HEIGHT_SCALE_M).abs() * there
        return {
            "events": over_members(event),
            "there": functional.binary_cross_entropy_with_logits(
                logits, there, pos_weight=torch.tensor(3.0, device=logits.device)
            ),
            "heights": wrong.sum() / there.sum().clamp_min(1.0),
            "points": over_members(tool.mean((-1, -2))) + over_members(thing.mean(-1)),
            "progress": over_members(progress),
        }


def _other_light(scenes: Scenes, generator: torch.Generator) -> Scenes:
    """Brightness and contrast of each state's pictures, the same for all its pictures."""
    B = len(scenes.images)
    gain = 1 + 0.2 * torch.randn(B, 1, 3, 1, 1, generator=generator)
    shift = 12 * torch.randn(B, 1, 1, 1, 1, generator=generator)

    def shine(images: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        return (images.float() * gain + shift).clamp(0, 255)

    images, earlier = shine(scenes.images, gain, shift), shine(scenes.earlier, gain[:, 0], shift[:, 0])
    alone = torch.rand(B, generator=generator) < _WITHOUT_EARLIER
    earlier[alone] = images[alone, 0]
    return replace(scenes, images=images, earlier=earlier)


def _by_side(card: EmbodimentCard, tool_m: np.ndarray) -> np.ndarray:
    """(..., A of the card, 3) in the card's order to (..., 2, 3) as right and left."""
    out = np.zeros((*tool_m.shape[:-2], 2, 3), np.float32)
    for i, arm in enumerate(card.arms):
        out[..., ("right", "left").index(arm.side), :] = tool_m[..., i, :]
    return out
