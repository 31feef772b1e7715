"""One training loop for every stage. It is handed its parts and knows none of them.

A stage is a function from a batch to named losses, and a weight for each name; a missing or an extra name
stops the run before the first step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from kinema.data.batch import Batch
from kinema.data.mixture import Mixture
from kinema.schema import KinemaError
from kinema.train import checkpoint
from kinema.train.metrics import Metrics
from kinema.train.optim import Ema, OptimConfig, Optimizer, cosine

Objective = Callable[[Batch, torch.Generator], Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """`budget_s`, when set, ends the run by time (and the schedule with it) instead of by steps."""

    steps: int
    budget_s: float | None = None
    seed: int = 0
    device: str = "cpu"
    autocast: bool = True
    log_every: int = 25
    save_every: int = 500
    evaluate_every: int = 0
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.device != "cpu" and not torch.cuda.is_available():
            raise KinemaError(f"device {self.device!r} is not here; torch sees no GPU. Use device 'cpu'.")


class Loop:
    """Runs an objective over a mixture. `run` returns when done; `ema_weights` are the ones to ship."""

    def __init__(
        self, model: nn.Module, objective: Objective, weights: Mapping[str, float], mixture: Mixture,
        config: LoopConfig, out: Path,
    ) -> None:  # fmt: skip
        self.model, self.objective, self.weights, self.mixture = (
            model.to(config.device),
            objective,
            weights,
            mixture,
        )
        self.config, self.out = config, out
        self.optimizer = Optimizer(model, config.optim)
        self.ema = Ema(model, config.optim.ema_decay)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.step, self.elapsed_s = 0, 0.0

    @property
    def progress(self) -> float:
        if self.config.budget_s is not None:
            return self.elapsed_s / self.config.budget_s
        return self.step / self.config.steps

    def resume(self) -> None:
        """Go on from the checkpoint below `out`."""
        position = checkpoint.load(
            self.out / "checkpoint", self.model, self.ema, self.optimizer, self.generator
        )
        self.step, self.elapsed_s, self.mixture.state = position.step, position.elapsed_s, position.mixture

    def save(self) -> None:
        position = checkpoint.Position(step=self.step, elapsed_s=self.elapsed_s, mixture=self.mixture.state)
        checkpoint.save(
            self.out / "checkpoint", position, self.model, self.ema, self.optimizer, self.generator
        )

    def run(
        self, evaluate: Callable[[int], Mapping[str, float]] | None = None, until: int | None = None
    ) -> None:
        """Train to the end of the budget, or to step `until`. `evaluate` gets the step; its result is logged.

        Ctrl-C saves a checkpoint and raises on.
        """
        self.model.train()
        metrics = Metrics(self.out, total=self.config.steps)
        try:
            while self.progress < 1 and (until is None or self.step < until):
                begin = time.perf_counter()
                losses, waited_s = self._one_step()
                self.elapsed_s += time.perf_counter() - begin
                metrics.step(
                    self.step, losses, self.progress, len_batch=self.mixture.batch_size, waited_s=waited_s
                )
                if self.step % self.config.log_every == 0:
                    metrics.write(self.step, lr_fraction=cosine(self.progress, self.step, self.config.optim))
                if self.step % self.config.save_every == 0:
                    self.save()
                if evaluate and self.config.evaluate_every and self.step % self.config.evaluate_every == 0:
                    metrics.scalars(self.step, evaluate(self.step))
        finally:
            self.save()
            metrics.close()

    def _one_step(self) -> tuple[dict[str, Tensor], float]:
        begin = time.perf_counter()
        batch = self.mixture.draw()
        waited_s = time.perf_counter() - begin
        device = torch.device(self.config.device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.autocast):
            losses = dict(self.objective(batch, self.generator))
        total = self._total(losses)
        if not torch.isfinite(total):
            raise KinemaError(
                f"loss is not finite at step {self.step}: { {k: v.item() for k, v in losses.items()} }"
            )
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm)
        self.optimizer.step(cosine(self.progress, self.step, self.config.optim))
        self.step += 1
        self.ema.update(self.model, self.step)
        return {k: v.detach() for k, v in losses.items()}, waited_s

    def _total(self, losses: Mapping[str, Tensor]) -> Tensor:
        if losses.keys() != self.weights.keys():
            raise KinemaError(f"losses {sorted(losses)} do not match loss weights {sorted(self.weights)}")
        return torch.stack([losses[name].float() * weight for name, weight in self.weights.items()]).sum()
