"""What is trained and how fast: parameters by pattern, optimisers, schedule and averaged weights."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from kinema.model.device import Precision
from kinema.schema import KinemaError
from kinema.train.shard import shard, shared_as, whole


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What the parameters of some names have of their own; None: as all others.

    pattern: as of files (`backbone.*`), over the names of `named_parameters`; `!` before it: all others
    lr: at its peak, of whichever optimiser they have
    """

    pattern: str
    frozen: bool = False
    lr: float | None = None
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        for what, value in (("learning rate", self.lr), ("weight decay", self.weight_decay)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise KinemaError(f"the {what} of {self.pattern!r} must not be negative, got {value}")

    def matches(self, name: str) -> bool:
        """Whether it is about the parameter of this name."""
        return fnmatchcase(name, self.pattern.removeprefix("!")) != self.pattern.startswith("!")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    lr: float = 1e-3  # AdamW: vectors, embeddings, convolutions and the layers at both ends
    matrix_lr: float | None = 2e-3  # Muon: the matrices of the blocks. None: AdamW everywhere
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    warmup_steps: int = 200
    final_lr_fraction: float = 0.02
    clip_norm: float = 1.0
    ema_decay: float | None = 0.999  # None: no average, the last weights are the ones to ship
    rules: tuple[Rule, ...] = ()  # where two say something of a parameter, the later one counts

    def __post_init__(self) -> None:
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in (0, 1), got {self.ema_decay}")
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, got {self.lr}")

    def scaled(self, factor: float) -> OptimConfig:
        """The same with all learning rates multiplied."""
        rules = tuple(replace(r, lr=None if r.lr is None else r.lr * factor) for r in self.rules)
        matrix_lr = self.matrix_lr and self.matrix_lr * factor
        return replace(self, lr=self.lr * factor, matrix_lr=matrix_lr, rules=rules)


def freeze(model: nn.Module, rules: Sequence[Rule]) -> None:
    """Mark what is not trained. Raises KinemaError where a rule matches nothing, or all is frozen."""
    names = [name for name, _ in model.named_parameters()]
    for rule in rules:
        if not any(rule.matches(name) for name in names):
            raise KinemaError(f"no parameter matches {rule.pattern!r}; near: {', '.join(_near(rule, names))}")
    for name, parameter in model.named_parameters():
        if any(rule.frozen and rule.matches(name) for rule in rules):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise KinemaError("every parameter is frozen; there is nothing to train")


def _near(rule: Rule, names: Sequence[str]) -> list[str]:
    """Patterns of modules, and names, most like one that matches nothing; else the outermost modules."""
    parts = [name.split(".") for name in names]
    modules = dict.fromkeys(".".join([*p[:n], "*"]) for p in parts for n in range(1, len(p)))
    outermost = list(dict.fromkeys(f"{p[0]}.*" if len(p) > 1 else p[0] for p in parts))
    return get_close_matches(rule.pattern.removeprefix("!"), [*modules, *names], n=3) or outermost


class Optimizer:
    """Muon for the hidden matrices, AdamW for everything else, behind one step.

    Muon orthogonalises each matrix's momentum (Jordan et al. 2024; step size matched to AdamW's as in
    Liu et al. 2025, arXiv 2502.16982). In a run of a few thousand steps it learns noticeably sooner.

    precision: in which Muon orthogonalises; names: of the parameters that it steps
    """

    def __init__(self, model: nn.Module, config: OptimConfig, precision: Precision = "fp32") -> None:
        self.names: dict[Tensor, str] = {p: name for name, p in model.named_parameters() if p.requires_grad}
        adamw: dict[tuple, list[nn.Parameter]] = {}
        muon: dict[tuple, list[nn.Parameter]] = {}
        for name, p in model.named_parameters():
            if p not in self.names:
                continue
            lr, decay, told = config.lr, config.weight_decay if p.ndim >= 2 else 0.0, "adamw"
            groups = adamw
            if config.matrix_lr and _is_hidden_matrix(name, p):
                lr, told, groups = config.matrix_lr, "muon", muon
            for rule in config.rules:
                if rule.matches(name):
                    decay = decay if rule.weight_decay is None else rule.weight_decay
                    lr, told = (lr, told) if rule.lr is None else (rule.lr, rule.pattern)
            groups.setdefault((told, lr, decay), []).append(p)
        self.parts: list[torch.optim.Optimizer] = []
        if adamw:
            self.parts.append(torch.optim.AdamW(_groups(adamw), betas=config.betas, fused=True))
        if muon:
            self.parts.append(Muon(_groups(muon), precision))

    def step(self, fraction: float) -> None:
        """One step at a fraction of the peak learning rates; then forget the gradients."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = group["peak_lr"] * fraction
            part.step()
        self.forget()

    def rates(self) -> dict[str, float]:
        """The learning rates of the last step, by optimiser or by the pattern that sets them."""
        return {group["told"]: group["lr"] for part in self.parts for group in part.param_groups}

    def moments(self) -> dict[str, Tensor]:
        """What it remembers, by parameter and name: which group a parameter lies in may change."""
        return {
            f"{self.names[parameter]}.{what}": value
            for part in self.parts
            for parameter, entry in part.state.items()
            for what, value in entry.items()
        }

    def make_room(self, sizes: Mapping[str, torch.Size]) -> None:
        """Have moments of these names, to be filled; none of what is not trained now."""
        by_name: dict[str, dict[str, torch.Size]] = defaultdict(dict)
        for key, size in sizes.items():
            name, _, what = key.rpartition(".")
            by_name[name][what] = size
        for part in self.parts:
            for parameter in (p for group in part.param_groups for p in group["params"]):
                entry = by_name[self.names[parameter]]
                part.state[parameter] = {what: _room(parameter, size) for what, size in entry.items()}

    def forget(self) -> None:
        """Drop the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)


def _room(parameter: nn.Parameter, size: torch.Size) -> Tensor:
    """For a moment: sharded and lying in memory as its parameter does, or, of another size, a count."""
    if size == parameter.shape:
        return torch.empty_like(parameter.detach())
    return torch.empty(size, device=parameter.device)


def _groups(by_rate: Mapping[tuple, Sequence[nn.Parameter]]) -> list[dict[str, Any]]:
    return [
        {"params": params, "lr": lr, "peak_lr": lr, "weight_decay": decay, "told": told}
        for (told, lr, decay), params in by_rate.items()
    ]


class Muon(torch.optim.Muon):
    """torch's Muon for matrices that may be sharded, in a precision that the machine has units for.

    Every process orthogonalises every whole matrix and steps its share of it.
    """

    def __init__(self, groups: list[dict[str, Any]], precision: Precision) -> None:
        super().__init__(groups, adjust_lr_fn="match_rms_adamw")
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step; `closure` is there for the interface and not called."""
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter.grad)
                mean = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
                wanted = parameter.grad.lerp(mean, momentum) if group["nesterov"] else mean
                full = whole(wanted).to(self.dtype)
                update = orthogonal(full, group["ns_coefficients"], group["ns_steps"], group["eps"])
                update = shared_as(update.to(parameter.dtype), parameter)
                size = 0.2 * math.sqrt(max(parameter.shape))  # "match_rms_adamw"
                parameter.mul_(1 - lr * group["weight_decay"]).add_(update, alpha=-lr * size)


def orthogonal(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """A matrix of the same singular vectors whose singular values are all about 1, by Newton-Schulz steps."""
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp_min(eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def _is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    inside = any(part in name for part in (".blocks.", ".layers.", "transformer_blocks."))
    return parameter.ndim == 2 and inside and "modulation" not in name and "_mod." not in name


def cosine(progress: float, step: int, config: OptimConfig) -> float:
    """Fraction of the peak learning rate at `progress` in [0, 1] of the run, after a linear warm-up."""
    warmup = min(1.0, (step + 1) / config.warmup_steps)
    fall = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return warmup * (config.final_lr_fraction + (1 - config.final_lr_fraction) * fall)


class Ema:
    """Exponential moving average of the weights that are trained.

    weights: by name; none where there is no average (decay None)
    ramps:   forgets the first weights sooner, as is usual; they are random where a network begins anew
    """

    def __init__(self, model: nn.Module, decay: float | None, *, ramps: bool = True) -> None:
        self.decay, self._ramps = decay, ramps
        self.weights: dict[str, Tensor] = {}
        if decay is not None:
            self.weights = {k: p.detach().clone() for k, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        if self.decay is None:
            return
        now = dict(model.named_parameters())
        decay = min(self.decay, (1 + step) / (10 + step)) if self._ramps else self.decay
        theirs = [shard(now[name]) for name in self.weights]
        torch._foreach_lerp_([shard(average) for average in self.weights.values()], theirs, 1 - decay)
