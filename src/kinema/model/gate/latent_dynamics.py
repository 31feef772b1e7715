"""What a chunk would lead to, in a latent space: an encoder of the scene and an ensemble that is unrolled.

    pictures, cameras --(convolutions)--> features --(lifted to the table)--> map of the table seen from above
    pictures, state, words --> latent at the start
    latent, where the gripper's corners will be over that map --(member of the ensemble)--> next latent, ...
    each latent --> has harm been done by now, where the tools and the thing are; the last one --> progress

The map is taught the true heights of things and intruders, so what the path is compared with is geometry and
not appearance. Members share the encoder and differ in weights and in the rows they learnt from; where they
disagree, the ensemble has not seen the like.

Axes: B states, K chunks, T steps, A arms, F path features, V views, P points of a gripper, C channels,
G map cells a side, Z heights of lifting, M members, E events.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.card.harm import EVENTS
from kinema.data.batch import Tensors
from kinema.model.gate.commanded_path import FEATURES, POINTS

ARMS = 2
_LIFT_M = (0.02, 0.09, 0.20)
_CLEARANCES_M = (0.015, 0.05, 0.2)  # at which a height above something is told finely, then coarsely
_MIDDLE_M, _REACH_M = (0.45, 0.0, 0.2), 0.25  # of the space that tools move in
HEIGHT_SCALE_M = 0.2
PRESENT_M = 0.005  # a cell that reaches higher has something on it
_SURE = 5.0  # logit of what is told


@dataclass(frozen=True, kw_only=True)
class DynamicsConfig:
    """Sizes of the network; `steps` is how far it is unrolled."""

    members: int = 5
    steps: int = 10
    views: int = 2
    image_size: int = 96
    channels: int = 40
    cells: int = 24
    latent: int = 112
    path_width: int = 128
    words: int = 64

    def __post_init__(self) -> None:
        if self.members < 1 or self.steps < 1:
            raise ValueError(f"members and steps must be at least 1, got {self.members} and {self.steps}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Scenes(Tensors):
    """B states. images: uint8 (B, V, 3, S, S); earlier: uint8 (B, 3, S, S), the first view a moment before.

    pose (B, V, 3, 4) and focal (B, V) of the cameras; area (B, 2, 2) low and high corners of the table's part
    start (B, A, F); arm_mask (B, A); points (B, A, P, 2, 3) of the grippers; words (B, W) of the instruction
    """

    images: Tensor
    earlier: Tensor
    pose: Tensor
    focal: Tensor
    area: Tensor
    start: Tensor
    arm_mask: Tensor
    points: Tensor
    words: Tensor


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the encoder made of B states; any number of chunks can be unrolled from it."""

    scenes: Scenes
    table: Tensor  # (B, C, G, G)
    layers: Tensor  # (B, 4, G, G) logits that a thing, an intruder, is there; their heights in HEIGHT_SCALE_M
    latent: Tensor  # (B, L)


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What each member foresees for each chunk.

    events: logits (M, B, K, T, E) that the event has happened by the end of step t
    tool_m: (M, B, K, T, A, 3); thing_m: (M, B, K, T, 3), how far the thing has moved; progress (M, B, K) [m]
    """

    events: Tensor
    tool_m: Tensor
    thing_m: Tensor
    progress: Tensor


class Members(nn.Module):
    """M linear layers as one: (M, N, in) to (M, N, out)."""

    def __init__(self, members: int, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, width_in, width_out))
        self.bias = nn.Parameter(torch.zeros(members, 1, width_out))
        nn.init.normal_(self.weight, std=width_in**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias.to(x.dtype), x, self.weight.to(x.dtype))


class LatentDynamics(nn.Module):
    """See the module docstring. `see` once per state, `foresee` for its chunks."""

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.config = config
        self.pictures = _Pictures(config.channels)
        self.table = _Table(config)
        coarse = config.views * 16 * 36
        self.glance = nn.Conv2d(64, 16, 1)
        self.start = nn.Sequential(
            nn.Linear(coarse + ARMS * FEATURES + config.words, 256),
            nn.SiLU(),
            nn.Linear(256, config.latent),
        )
        self.path = _PathOverTable(config)
        M, L = config.members, config.latent
        self.begin = Members(M, L, L)
        self.gates_in = Members(M, config.path_width, 3 * L)
        self.gates_latent = Members(M, L, 3 * L)
        self.head_hidden = Members(M, L, 64)
        self.head = Members(M, 64, len(EVENTS) + ARMS * 3 + 3 + 1)
        with torch.no_grad():
            self.head.bias[..., : len(EVENTS)] = -2.0

    def see(self, scenes: Scenes) -> Seen:
        """Encode B states."""
        B, V = scenes.images.shape[:2]
        images = scenes.images.float() / 127.5 - 1.0
        change = torch.zeros_like(images)
        change[:, 0] = images[:, 0] - (scenes.earlier.float() / 127.5 - 1.0)
        fine, coarse = self.pictures(torch.cat([images, change], 2).flatten(0, 1))
        table, layers = self.table(fine.unflatten(0, (B, V)), scenes)
        glance = functional.adaptive_avg_pool2d(self.glance(coarse), 6).view(B, -1)
        start = (centred(scenes.start) * scenes.arm_mask[..., None]).flatten(1)
        latent = self.start(torch.cat([glance, start, scenes.words], 1))
        return Seen(scenes=scenes, table=table, layers=layers, latent=latent)

    def foresee(self, seen: Seen, path: Tensor) -> Foreseen:
        """Unroll the ensemble under chunks whose commanded path is (B, K, T, A, F)."""
        B, K, T = path.shape[:3]
        config = self.config
        steps = self.path(seen, path)  # (B, K, T, width)
        inputs = self.gates_in(steps.reshape(1, -1, steps.shape[-1]).expand(config.members, -1, -1))
        inputs = inputs.view(config.members, B * K, T, -1)
        latent = self.begin(seen.latent.repeat_interleave(K, 0).expand(config.members, -1, -1))
        latents = []
        for t in range(T):
            latent = self._advance(latent, inputs[:, :, t])
            latents.append(latent)
        return self._read(torch.stack(latents, 2).view(config.members, B, K, T, -1), path)

    def forward(
        self, scenes: Scenes, path: Tensor, told: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Seen, Foreseen]:
        """told: true heights (B, 2, G, G) [m], and for which states (B,) they replace the seen ones."""
        seen = self.see(scenes)
        if told is None:
            return seen, self.foresee(seen, path)
        heights, for_whom = told
        true = torch.cat([_SURE * torch.sign(heights - PRESENT_M), heights / HEIGHT_SCALE_M], 1)
        mixed = torch.where(for_whom[:, None, None, None], true, seen.layers)
        return seen, self.foresee(replace(seen, layers=mixed), path)

    def _advance(self, latent: Tensor, inputs: Tensor) -> Tensor:
        """One step of a gated recurrent cell (Cho et al. 2014) for every member: (M, N, L)."""
        reset_in, update_in, new_in = inputs.chunk(3, -1)
        reset, update, new = self.gates_latent(latent).chunk(3, -1)
        keep = torch.sigmoid(update_in + update + 1.0)
        fresh = torch.tanh(new_in + torch.sigmoid(reset_in + reset) * new)
        return keep * latent + (1.0 - keep) * fresh

    def _read(self, latents: Tensor, path: Tensor) -> Foreseen:
        shape = latents.shape[:-1]
        hidden = functional.silu(self.head_hidden(latents.flatten(1, -2)))
        out = self.head(hidden).float().view(*shape, -1)
        events, tools, thing, progress = out.split([len(EVENTS), ARMS * 3, 3, 1], -1)
        return Foreseen(
            events=events,
            tool_m=path[..., :3] + 0.1 * tools.unflatten(-1, (ARMS, 3)),
            thing_m=0.1 * thing.cumsum(-2),
            progress=0.1 * progress[..., -1, 0],
        )


class _Pictures(nn.Module):
    """Pictures (N, 6, S, S) to features at a quarter (N, C, S/4, S/4) and an eighth (N, 64, S/8, S/8)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(6, 24, 5, 2, 2)
        self.down = nn.Conv2d(24, channels, 3, 2, 1)
        self.fine = nn.Conv2d(channels, channels, 3, 1, 1)
        self.coarse_in = nn.Conv2d(channels, 64, 3, 2, 1)
        self.coarse = nn.Conv2d(64, 64, 3, 1, 1)
        self.back = nn.Conv2d(64, channels, 1)
        self.norms = nn.ModuleList([nn.GroupNorm(4, n) for n in (24, channels, 64)])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.silu(self.norms[0](self.stem(images)))
        x = functional.silu(self.norms[1](self.down(x)))
        coarse = functional.silu(self.norms[2](self.coarse_in(x)))
        coarse = coarse + functional.silu(self.coarse(coarse))
        x = x + functional.silu(self.fine(x)) + functional.interpolate(self.back(coarse), scale_factor=2.0)
        return x, coarse


class _Table(nn.Module):
    """Features of calibrated views, lifted at three heights onto the cells of the table."""

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        G, C = config.cells, config.channels
        self.mix = nn.Conv2d(config.views * len(_LIFT_M) * C + 2 * ARMS, C, 1)
        self.smooth = nn.Conv2d(C, C, 3, 1, 1)
        self.smooth2 = nn.Conv2d(C, C, 3, 1, 1)
        self.layers = nn.Conv2d(C, 4, 1)
        ticks = (torch.arange(G) + 0.5) / G
        grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="ij"), -1)  # x along rows, y along columns
        self.register_buffer("grid", grid, persistent=False)

    def forward(self, fine: Tensor, scenes: Scenes) -> tuple[Tensor, Tensor]:
        """fine (B, V, C, h, w) to the map (B, C, G, G) and what stands on it (B, 4, G, G)."""
        B, V, C = fine.shape[:3]
        G, Z = len(self.grid), len(_LIFT_M)
        low, high = scenes.area[:, 0], scenes.area[:, 1]
        place = low[:, None, None] + self.grid * (high - low)[:, None, None]  # (B, G, G, 2)
        lifts = torch.tensor(_LIFT_M, device=fine.device)
        world = torch.cat(
            [
                place[:, None].expand(B, Z, G, G, 2),
                lifts.view(1, Z, 1, 1, 1).expand(B, Z, G, G, 1),
            ],
            -1,
        ).view(B, Z * G * G, 3)
        uv, inside = _project(world, scenes.pose, scenes.focal)  # (B, V, N, 2), (B, V, N)
        sampled = functional.grid_sample(
            fine.flatten(0, 1).float(), uv.flatten(0, 1)[:, :, None], align_corners=False
        )[..., 0]
        sampled = sampled.view(B, V, C, -1) * inside[:, :, None]
        lifted = sampled.view(B, V, C, Z, G, G).flatten(1, 3)
        offset = place[:, None] - scenes.start[:, :, None, None, :2]  # (B, A, G, G, 2)
        offset = (offset * scenes.arm_mask[:, :, None, None, None]).permute(0, 1, 4, 2, 3).flatten(1, 2)
        table = functional.silu(self.mix(torch.cat([lifted, 4.0 * offset], 1)))
        table = table + functional.silu(self.smooth(table))
        table = table + functional.silu(self.smooth2(table))
        return table, self.layers(table).float()


class _PathOverTable(nn.Module):
    """The commanded path and what lies under and around the gripper's corners on it: (B, K, T, width)."""

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(config.channels, 14, 1)
        self.point_kind = nn.Parameter(torch.randn(POINTS, 48) * 0.1)
        self.point = nn.Linear(14 + 2 + 3 * len(_CLEARANCES_M) + 2, 48)
        self.point_out = nn.Linear(48, 32)
        self.out = nn.Sequential(
            nn.Linear(ARMS * (32 * 2 + 2 * FEATURES + 3), config.path_width),
            nn.SiLU(),
            nn.Linear(config.path_width, config.path_width),
        )

    def forward(self, seen: Seen, path: Tensor) -> Tensor:
        B, K, T, A, _ = path.shape
        scenes = seen.scenes
        corners = gripper_corners(path, scenes.points[:, None, None])  # (B, K, T, A, P, 3)
        low, high = scenes.area[:, 0], scenes.area[:, 1]
        flat = corners.reshape(B, -1, 3)
        at = 2 * (flat[..., :2] - low[:, None]) / (high - low)[:, None] - 1
        there = torch.sigmoid(seen.layers[:, :2])
        # where nothing is, nothing is high
        layers = torch.cat([self.narrow(seen.table).float(), there, there * seen.layers[:, 2:]], 1)
        # the map's rows run along x, its columns along y: grid_sample wants columns first
        under = functional.grid_sample(layers, at.flip(-1)[:, :, None], align_corners=False)[..., 0]
        under = under.transpose(1, 2).view(B, K, T, A, POINTS, -1)
        height = corners[..., 2:]
        over = torch.cat([height, height - HEIGHT_SCALE_M * under[..., -2:]], -1)
        clear = torch.cat([torch.tanh(over / scale) for scale in _CLEARANCES_M], -1)
        place = at.view(B, K, T, A, POINTS, 2)
        point = functional.silu(self.point(torch.cat([under[..., :-2], clear, place], -1)) + self.point_kind)
        point = functional.silu(self.point_out(point))
        pooled = torch.cat([point.amax(-2), point.mean(-2)], -1)
        start = scenes.start[:, None, None]
        before = torch.cat([start.expand(B, K, 1, A, -1), path[:, :, :-1]], 2)
        step = 10.0 * (path[..., :3] - before[..., :3])
        own = (
            torch.cat([pooled, centred(path), centred(path) - centred(start), step], -1)
            * scenes.arm_mask[:, None, None, :, None]
        )
        return self.out(own.flatten(3))


def centred(path: Tensor) -> Tensor:
    """Path features (..., F) with positions brought to about [-1, 1]."""
    middle = torch.tensor(_MIDDLE_M, device=path.device)
    return torch.cat([(path[..., :3] - middle) / _REACH_M, path[..., 3:]], -1)


def gripper_corners(path: Tensor, points: Tensor) -> Tensor:
    """Where the gripper's points (..., A, P, 2, 3) are along a path (..., A, F): (..., A, P, 3)."""
    tool, x, y, opening = path[..., :3], path[..., 3:6], path[..., 6:9], path[..., 9]
    axes = torch.stack([x, y, torch.linalg.cross(x, y)], -1)  # columns (..., A, 3, 3)
    local = points[..., 0, :] + opening[..., None, None] * points[..., 1, :]
    return tool[..., None, :] + local @ axes.transpose(-1, -2)


def _project(world: Tensor, pose: Tensor, focal: Tensor) -> tuple[Tensor, Tensor]:
    """Points (B, N, 3) in V views: (B, V, N, 2) in [-1, 1], right and down, and whether they are inside."""
    local = torch.einsum("bvij,bnj->bvni", pose[..., :3], world) + pose[:, :, None, :, 3]
    depth = (-local[..., 2]).clamp_min(1e-3)
    uv = torch.stack([local[..., 0], -local[..., 1]], -1) * (focal[..., None] / depth)[..., None]
    inside = (uv.abs() <= 1).all(-1) & (local[..., 2] < -1e-3)
    return uv.clamp(-2, 2), inside.float()


def event_risk(seen: Seen, foreseen: Foreseen, caution: float) -> Tensor:
    """Probabilities (B, K, T, E) that an event has happened by then, never falling with time.

    What is run into must first be there: an intruder's event counts by how surely one is seen at all.
    caution: how many standard deviations of the members' logits are added to their mean.
    """
    logits = foreseen.events
    spread = logits.std(0, correction=0) if len(logits) > 1 else torch.zeros_like(logits[0])
    risk = torch.sigmoid(logits.mean(0) + caution * spread).cummax(2).values
    there = torch.sigmoid(seen.layers[:, 1]).flatten(1).amax(1)
    share = torch.ones(len(there), len(EVENTS), device=risk.device)
    share[:, list(EVENTS).index("intruder")] = there
    return risk * share[:, None, None]
