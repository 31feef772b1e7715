"""One training loop for every stage. It is handed its parts and knows none of them.

A stage is a function from a batch to named losses, and a weight for each name; a missing or an extra name
stops the run before the first step.

A step is taken whole or not at all: signals are heeded between steps, a gradient that is not finite is not
stepped along, and what is saved is always the state between two steps.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from kinema.data.stream import Stream
from kinema.model.device import AskedPrecision, Precision, autocast, device_of, precision_on
from kinema.schema import KinemaError
from kinema.train import checkpoint
from kinema.train.blame import blame
from kinema.train.metrics import Metrics
from kinema.train.optim import Ema, OptimConfig, Optimizer, cosine
from kinema.train.parallel import Group, SharedError
from kinema.train.record import RunRecord
from kinema.train.shard import whole
from kinema.train.stop import StopRequest
from kinema.train.trackers import Tracker

_TOTAL = "total"
B = TypeVar("B")


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """`budget_s`, when set, ends the run by time (and the schedule with it) instead of by steps.

    precision: "auto" is bf16 where the device has units for it. keep: how many checkpoints.
    accumulate: parts that every process takes its share of a batch in, one after the other
    most_skipped: so many gradients in a row that are not finite end the run
    """

    steps: int
    accumulate: int = 1
    budget_s: float | None = None
    seed: int = 0
    device: str = "cpu"
    precision: AskedPrecision = "auto"
    log_every: int = 25
    save_every: int = 500
    keep: int = 3
    most_skipped: int = 5
    evaluate_every: int = 0
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if min(self.keep, self.most_skipped, self.accumulate) < 1:
            raise ValueError(
                f"keep, most_skipped and accumulate must be at least 1: {self.keep}, {self.most_skipped}, "
                f"{self.accumulate}"
            )
        device_of(self.device)

    @property
    def computes_in(self) -> Precision:
        """The precision, once the device has been asked."""
        return precision_on(torch.device(self.device), self.precision)


class NotFiniteError(SharedError):
    """The loss or the gradients are not finite, in all processes alike; the state is that before the step."""


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """What a step tells. losses: means over the processes

    stop: whether any of them was asked to, or knows that a checkpoint could not be written
    """

    losses: dict[str, float]
    grad_norm: float
    waited_s: float
    previous_s: float  # of the step before this one
    stop: bool


class Loop(Generic[B]):
    """Runs an objective over a mixture. `run` returns when done; `averaged` are the weights to ship."""

    def __init__(
        self, model: nn.Module, objective: Callable[[B, torch.Generator], Mapping[str, Tensor]],
        weights: Mapping[str, float], mixture: Stream[B], config: LoopConfig, out: Path,
        group: Group | None = None, record: RunRecord | None = None,
    ) -> None:  # fmt: skip
        """model: as it is trained, on its device and sharded over the group (`shard.py`)

        group: the processes that take every step together (default: this one alone)
        weights: of the losses; one of weight 0 is watched and not learnt from
        record: what the weights are made of, stored with them and compared before a run goes on
        """
        self.model, self.objective, self.weights, self.mixture = model, objective, weights, mixture
        self.config, self.out, self.group = config, out, group or Group()
        self.device, self.precision = torch.device(config.device), config.computes_in
        self.trackers: Sequence[Tracker] = ()  # where the chief's curves go
        self.record = record or RunRecord(fixed={}, noted={})
        self.optimizer = Optimizer(model, config.optim, self.precision)
        self.ema = Ema(model, config.optim.ema_decay)
        self.step, self.elapsed_s, self._previous_s = 0, 0.0, 0.0
        self.skipped = 0  # steps in a row that were not taken
        self._is_whole = True  # False while weights, averages and moments are being changed
        self.saver = checkpoint.Saver(self.checkpoints, self.record, config.keep, self.group)
        self._is_ours = False  # whether the checkpoints in the folder are of this run
        self._rows_counted = False

    @property
    def progress(self) -> float:
        if self.config.budget_s is not None:
            return self.elapsed_s / self.config.budget_s
        return self.step / self.config.steps

    @property
    def batch_size(self) -> int:
        """Rows of a batch: of all processes, and of all parts that each takes its share in."""
        return self.mixture.batch_size * self.config.accumulate * self.group.size

    def _batch_in_words(self) -> str:
        parts = (self.group.size, "processes"), (self.config.accumulate, "parts")
        shares = [f"{count} {what}" for count, what in parts if count > 1]
        each = f" ({', '.join(shares)} of {self.mixture.batch_size})" if shares else ""
        return f"batches of {self.batch_size}{each}"

    @property
    def checkpoints(self) -> Path:
        """The folder that the checkpoints lie in."""
        return self.out / "checkpoint"

    def close(self) -> None:
        """End what tracks the run; it may not run again."""
        for tracker in self.trackers:
            tracker.close()

    def resume(self) -> None:
        """Go on from the newest checkpoint below `out`; what has changed since is said.

        Raises KinemaError when there is none, or it is of another run.
        """
        changes = self.record.check_continues(RunRecord.read(checkpoint.newest(self.checkpoints)))
        position = checkpoint.load(self.checkpoints, self.model, self.ema, self.optimizer, self.group)
        self.step, self.elapsed_s, self.mixture.state = position.step, position.elapsed_s, position.mixture
        self.skipped, self._is_ours = position.skipped, True
        if self.group.is_chief:
            for change in changes:
                print(f"kinema: since step {self.step}: {change}", file=sys.stderr)

    def save(self) -> None:
        """Begin to write a checkpoint of the state between two steps (`Saver.save`)."""
        position = checkpoint.Position(
            step=self.step, elapsed_s=self.elapsed_s, mixture=self.mixture.state, skipped=self.skipped
        )
        self.saver.save(position, self.model, self.ema, self.optimizer)

    def run(
        self, evaluate: Callable[[int], Mapping[str, float]] | None = None, until: int | None = None
    ) -> None:
        """Train to the end of the budget, or to step `until`. `evaluate` gets the step; its result is logged.

        All processes of a group run alike, but only the chief logs what is said. A signal (SIGINT, SIGTERM,
        SIGHUP) to any of them, whenever it comes, ends them all after the step that is being taken; they
        save, and KeyboardInterrupt is raised. What is raised in all of them before a step has changed
        anything loses nothing either; after that, the last checkpoint is left as it was.
        """
        self.check_new()
        self.model.train()
        metrics = Metrics(self.config.steps, self.trackers) if self.group.is_chief else None
        if metrics:
            metrics.say(f"computing in {self.precision} on {self.device}; {self._batch_in_words()}")
        with StopRequest() as stop:
            try:
                asked = self._run(evaluate, until, stop, metrics)
                self.save()
                self.saver.wait()
            except BaseException as error:
                # whatever it was, it came between two steps' updates, and the others are here, too
                if self._is_whole and self.step and (self.group.size == 1 or isinstance(error, SharedError)):
                    with suppress(
                        Exception
                    ):  # weights that are not finite are not kept; a full disk stays full
                        self.save()
                raise
            finally:
                with suppress(Exception):  # it is told already, or another failure is
                    self.saver.wait()
                if metrics:
                    metrics.close()
            if asked or any(self.group.gather(stop.asked)):
                raise KeyboardInterrupt

    def _run(
        self, evaluate: Callable[[int], Mapping[str, float]] | None, until: int | None, stop: StopRequest,
        metrics: Metrics | None,
    ) -> bool:  # fmt: skip
        """Whether it was asked to stop. What the steps say goes to the chief's `metrics`."""
        every = self.config.evaluate_every
        while self._goes_on(until):
            if self.group.size == 1 and stop.asked:
                return True
            taken = self._one_step(stop)
            if not self._rows_counted:
                self._count_rows()
            if metrics:
                metrics.step(
                    self._curves(taken), self.progress, len_batch=self.batch_size, waited_s=taken.waited_s
                )
                if self.skipped:
                    metrics.say(f"step {self.step - 1} was not taken: its gradient is not finite")
                if self.step % self.config.log_every == 0:
                    metrics.write(self.step, self.optimizer.rates())
            if taken.stop:
                return True
            if self.step % self.config.save_every == 0:
                self.save()
            if evaluate and every and self.step % every == 0:
                self.save()
                self.saver.wait()  # nothing is lost if it is stopped, or fails, in there
                with stop.at_once():
                    found = evaluate(self.step)
                if metrics:
                    metrics.scalars(self.step, found)
        return False

    def _count_rows(self) -> None:
        """That a batch has as many rows as it is said to have, once."""
        own = sum(len(self.mixture.origin(part)) for part in range(self.config.accumulate))
        rows = sum(self.group.gather(own))
        if rows != self.batch_size:
            raise SharedError(f"a batch was to have {self.batch_size} rows and has {rows}")
        self._rows_counted = True

    def _curves(self, taken: _Taken) -> dict[str, float]:
        named = {f"{'loss' if self.weights[k] else 'watched'}/{k}": v for k, v in taken.losses.items()}
        return {**named, "optim/grad_norm": taken.grad_norm}

    def check_new(self) -> None:
        """A run that was not resumed must not be mixed with another one's checkpoints."""
        if not self._is_ours and self.group.is_chief and checkpoint.stored(self.checkpoints):
            raise KinemaError(f"{self.out} holds a run; resume it, or choose another folder")
        self._is_ours = True

    def _goes_on(self, until: int | None) -> bool:
        return self.progress < 1 and (until is None or self.step < until)

    def _one_step(self, stop: StopRequest) -> _Taken:
        begin, before = time.perf_counter(), self.mixture.state
        try:
            taken, parts = self._differentiated(stop)
        except BaseException:
            self.mixture.state = before
            self.optimizer.forget()
            raise
        self._is_whole = False
        if np.isfinite(taken.grad_norm):
            self.optimizer.step(cosine(self.progress, self.step, self.config.optim))
            self.skipped = 0
        else:
            self.optimizer.forget()
            self.skipped += 1
        self.step += 1
        self.elapsed_s += taken.previous_s
        if not self.skipped:
            self.ema.update(self.model, self.step)
        self._is_whole = True
        if self.skipped >= self.config.most_skipped:
            raise NotFiniteError(
                f"the gradient is not finite at step {self.step - 1} and was not at the {self.skipped - 1} "
                f"before it, though the losses are: {taken.losses}; {self._blame(parts)}"
            )
        self._previous_s = time.perf_counter() - begin
        return taken

    def _differentiated(self, stop: StopRequest) -> tuple[_Taken, list[B]]:
        """Draw a batch, part by part, and find the gradients, of the mean over the processes, and clipped."""
        waited_s, parts = 0.0, []
        found: dict[str, Tensor] = {}
        for part in range(self.config.accumulate):
            begin = time.perf_counter()
            parts.append(self.mixture.draw(part))
            waited_s += time.perf_counter() - begin
            with autocast(self.device, self.precision):
                losses = dict(self.objective(parts[-1], self._generator(part)))
            total = self._total(losses)
            (total / self.config.accumulate).backward()
            for name, loss in {_TOTAL: total, **losses}.items():
                share = loss.detach().float() / self.config.accumulate
                found[name] = found[name] + share if part else share
        # clock, losses and stop travel with the gradients: no process decides anything alone
        ends = stop.asked or self.saver.failed
        own = torch.tensor([self._previous_s, float(ends)]).to(self.device)
        shared = torch.cat([torch.stack(list(found.values())), own])
        self.group.average(shared)
        norm = whole(nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm))
        # the only place where the host waits for the device
        numbers = torch.cat([shared, norm.float()[None]]).cpu()
        mean_total, *means, previous_s, asked, grad_norm = numbers.tolist()
        named = dict(zip([name for name in found if name != _TOTAL], means))
        if not np.isfinite(mean_total):
            raise NotFiniteError(f"loss is not finite at step {self.step}: {named}; {self._blame(parts)}")
        taken = _Taken(
            losses=named, grad_norm=grad_norm, waited_s=waited_s, previous_s=previous_s, stop=asked > 0
        )
        return taken, parts

    def _blame(self, parts: Sequence[B]) -> str:
        said = blame(parts, [self.mixture.origin(i) for i in range(len(parts))])
        return "; ".join(dict.fromkeys(self.group.gather(said)))

    def _generator(self, part: int) -> torch.Generator:
        """The randomness of a part of this step: that of the process which would have it, were there more."""
        share = self.group.rank * self.config.accumulate + part
        seed = np.random.SeedSequence([self.config.seed, self.step, share])
        return torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))

    def _total(self, losses: Mapping[str, Tensor]) -> Tensor:
        if losses.keys() != self.weights.keys():
            raise KinemaError(f"losses {sorted(losses)} do not match loss weights {sorted(self.weights)}")
        learnt = [losses[name].float() * weight for name, weight in self.weights.items() if weight]
        return torch.stack(learnt).sum()
