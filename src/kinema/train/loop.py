"""One training loop for every stage. It is handed its parts and knows none of them.

A stage is a function from a batch to named losses, and a weight for each name; a missing or an extra name
stops the run before the first step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from kinema.data.mixture import MixtureState
from kinema.schema import KinemaError
from kinema.train import checkpoint
from kinema.train.metrics import Metrics
from kinema.train.optim import Ema, OptimConfig, Optimizer, cosine
from kinema.train.parallel import Group

B = TypeVar("B")
Drawn = TypeVar("Drawn", covariant=True)


class Stream(Protocol[Drawn]):
    """An endless supply of batches whose whole state is a small value."""

    batch_size: int
    state: MixtureState

    def draw(self) -> Drawn: ...


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


class Loop(Generic[B]):
    """Runs an objective over a mixture. `run` returns when done; `ema_weights` are the ones to ship."""

    def __init__(
        self, model: nn.Module, objective: Callable[[B, torch.Generator], Mapping[str, Tensor]],
        weights: Mapping[str, float], mixture: Stream[B], config: LoopConfig, out: Path,
        group: Group | None = None,
    ) -> None:  # fmt: skip
        """`group`: the processes that take every step together (default: this one alone)."""
        self.model, self.objective, self.weights, self.mixture = (
            model.to(config.device),
            objective,
            weights,
            mixture,
        )
        self.config, self.out, self.group = config, out, group or Group()
        self.optimizer = Optimizer(model, config.optim)
        self.ema = Ema(model, config.optim.ema_decay)
        self.step, self.elapsed_s, self._previous_s = 0, 0.0, 0.0

    @property
    def progress(self) -> float:
        if self.config.budget_s is not None:
            return self.elapsed_s / self.config.budget_s
        return self.step / self.config.steps

    def resume(self) -> None:
        """Go on from the checkpoint below `out`."""
        position = checkpoint.load(self.out / "checkpoint", self.model, self.ema, self.optimizer)
        self.step, self.elapsed_s, self.mixture.state = position.step, position.elapsed_s, position.mixture

    def save(self) -> None:
        position = checkpoint.Position(step=self.step, elapsed_s=self.elapsed_s, mixture=self.mixture.state)
        checkpoint.save(self.out / "checkpoint", position, self.model, self.ema, self.optimizer)

    def run(
        self, evaluate: Callable[[int], Mapping[str, float]] | None = None, until: int | None = None
    ) -> None:
        """Train to the end of the budget, or to step `until`. `evaluate` gets the step; its result is logged.

        Only the chief of the group logs, saves and evaluates. Ctrl-C saves a checkpoint and raises on.
        """
        self.model.train()
        if not self.group.is_chief:
            while self._goes_on(until):
                self._one_step()
            return
        metrics = Metrics(self.out, total=self.config.steps)
        batch_size = self.mixture.batch_size * self.group.size
        try:
            while self._goes_on(until):
                losses, waited_s = self._one_step()
                metrics.step(self.step, losses, self.progress, len_batch=batch_size, waited_s=waited_s)
                if self.step % self.config.log_every == 0:
                    metrics.write(self.step, lr_fraction=cosine(self.progress, self.step, self.config.optim))
                if self.step % self.config.save_every == 0:
                    self.save()
                if evaluate and self.config.evaluate_every and self.step % self.config.evaluate_every == 0:
                    metrics.scalars(self.step, evaluate(self.step))
        finally:
            self.save()
            metrics.close()

    def _goes_on(self, until: int | None) -> bool:
        return self.progress < 1 and (until is None or self.step < until)

    def _one_step(self) -> tuple[dict[str, Tensor], float]:
        begin = time.perf_counter()
        batch = self.mixture.draw()
        waited_s = time.perf_counter() - begin
        device = torch.device(self.config.device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.autocast):
            losses = dict(self.objective(batch, self._generator()))
        total = self._total(losses)
        total.backward()
        # the clock and the loss travel with the gradients: no process decides anything alone
        shared = torch.stack([total.detach().double(), torch.tensor(self._previous_s)])
        self.group.average([shared])
        self.group.average([p.grad for p in self.model.parameters() if p.grad is not None])
        if not torch.isfinite(shared[0]):
            raise KinemaError(
                f"loss is not finite at step {self.step}: { {k: v.item() for k, v in losses.items()} }"
            )
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm)
        self.optimizer.step(cosine(self.progress, self.step, self.config.optim))
        self.step += 1
        self.elapsed_s += shared[1].item()
        self.ema.update(self.model, self.step)
        self._previous_s = time.perf_counter() - begin
        return {k: v.detach() for k, v in losses.items()}, waited_s

    def _generator(self) -> torch.Generator:
        """The randomness of this step in this process: a function of seed, step and rank alone."""
        seed = np.random.SeedSequence([self.config.seed, self.step, self.group.rank])
        return torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))

    def _total(self, losses: Mapping[str, Tensor]) -> Tensor:
        if losses.keys() != self.weights.keys():
            raise KinemaError(f"losses {sorted(losses)} do not match loss weights {sorted(self.weights)}")
        return torch.stack([losses[name].float() * weight for name, weight in self.weights.items()]).sum()
