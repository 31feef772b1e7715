"""From a recipe to an artifact: the same for every stage."""

from __future__ import annotations

import json
import platform
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

import kinema
from kinema.data.stream import Drawn, Feed
from kinema.model.device import device_of
from kinema.model.stored import replacing
from kinema.train import checkpoint
from kinema.train.cpu import keep_freed_memory
from kinema.train.loop import Loop
from kinema.train.parallel import Group, SharedError, in_processes, joined
from kinema.train.recipe import Options, Recipe
from kinema.train.record import RunRecord, digest, machine
from kinema.train.shard import blueprint, built, gathered, prepare
from kinema.train.stage import Setting
from kinema.train.trackers import open_trackers


class Run:
    """One run of a recipe. Building it builds the stage; `begin` gives each process its loop."""

    def __init__(
        self, recipe: Recipe, data: Path, out: Path, options: Options | None = None, commit: str | None = None
    ) -> None:
        """data: the folder below which the recipe looks; out: keeps checkpoints, logs and the artifact.

        commit: of the source, for the provenance; None if unknown
        """
        self.options = options or Options()
        self.recipe, self.out, self.commit = self.options.of(recipe), out, commit
        loop = self.recipe.loop
        torch.set_num_threads(self.options.threads)  # before anything is forked
        keep_freed_memory()
        stored = None
        if self.options.resume:
            stored = RunRecord.read(checkpoint.newest(out / "checkpoint")).assets
        self.stage = self.recipe.build(
            Setting(
                data=data, out=out, seed=loop.seed, precision=loop.computes_in, stored=stored,
                init=None if self.options.resume else self.options.init, words=self.options.words,
                named=self.options.named,
                most_clipped=self.options.most_clipped, pictures=self.recipe.pictures or "cache",
            )
        )  # fmt: skip
        self._plain = blueprint(self.stage.model)
        self.found: dict[str, Mapping[str, Any]] = {}  # what was judged, by the phase before it

    def begin(self, group: Group | None = None) -> Loop[Any]:
        """The loop of one of the processes that train together (default: of the only one)."""
        group, stage, config = group or Group(), self.stage, self.recipe.loop
        self._check_alike(group)
        stream = stage.stream(
            Feed(
                batch_size=self.recipe.rows(group.size), seed=config.seed, rank=group.rank,
                ranks=group.size, parts=config.accumulate, workers=self.options.workers,
                pin=torch.device(config.device).type == "cuda",
            )
        )  # fmt: skip
        prepare(
            stage.model, stage.layers(), group, torch.device(config.device), config.computes_in,
            checkpointing=self.options.checkpointing, compiled=self.options.compile,
        )  # fmt: skip
        loop = Loop(stage.model, stage, stage.weights, stream, config, self.out, group, self.record())
        if self.options.resume:
            loop.resume()
        return loop

    def train(
        self, group: Group | None = None, evaluate: Callable[[Path], Mapping[str, float]] | None = None
    ) -> Loop[Any]:
        """Go to the end in this process. evaluate: as in `run`."""
        with closing(self.begin(group)) as loop:
            loop.check_new()
            if loop.group.is_chief:
                names, goes_on = self.options.trackers, self.options.resume
                loop.trackers = open_trackers(names, self.out, self.about(), goes_on=goes_on)
            self._to_the_end(loop, evaluate)
        return loop

    def _to_the_end(self, loop: Loop[Any], evaluate: Callable[[Path], Mapping[str, float]] | None) -> None:
        def judged(step: int) -> Mapping[str, float]:
            if evaluate is None:
                return {f"held_out/{k}": v for k, v in _numbers(self.judge(loop)).items()}
            artifact = self.export(loop, self.out / "latest")
            return evaluate(artifact) if loop.group.is_chief else {}

        watch = judged if self.recipe.loop.evaluate_every else None
        for name, end in self.stage.phases:
            begin = loop.step
            loop.run(watch, until=end)
            if loop.step > begin:  # else it ended before, or never began
                self.found[name] = self.judge(loop)
        loop.run(watch)

    def averaged(self, loop: Loop[Any]) -> nn.Module | None:
        """The weights to ship as a network of their own, on the CPU, in eval mode: averaged, if they are.

        All processes must ask; the chief alone gets it.
        """
        weights = gathered({**loop.model.state_dict(), **loop.ema.weights}, loop.group)
        if not loop.group.is_chief:
            return None
        return built(self._plain, weights).eval()

    def judge(self, loop: Loop[Any]) -> Mapping[str, Any]:
        """What the stage makes of these weights, on the chief; empty elsewhere. All processes must ask."""
        model = self.averaged(loop)
        return {} if model is None else self.stage.judge(model)

    def export(self, loop: Loop[Any], folder: Path) -> Path:
        """Write these weights as an artifact, in place of what the folder held. All processes must ask."""
        model = self.averaged(loop)
        if model is None:
            return folder
        judged = self.stage.judge(model)
        if judged:
            self.found["the end"] = judged
        with replacing(folder) as fresh:
            self.stage.export(model, fresh, {**self.provenance(loop), "judged": self.found}, judged)
        return folder

    def _check_alike(self, group: Group) -> None:
        """Raise KinemaError where the processes of a group are not about to train the same."""
        beginnings = digest(*(p.detach().flatten()[:8] for p in self.stage.model.parameters()))
        (first, weights), *others = group.gather((replace(self.record(), assets={}), beginnings))
        for rank, (record, theirs) in enumerate(others, start=1):
            changes = first.unlike(record)
            if theirs != weights:
                changes.append("its network begins with other weights")
            if changes:
                raise SharedError(f"process {rank} is about another run than process 0: {changes[0]}")

    def record(self) -> RunRecord:
        """What the weights are made of, for the checkpoints."""
        made, loop = self.stage.made_of, self.recipe.loop
        return RunRecord(
            fixed={
                "recipe": self.recipe.name,
                "seed": loop.seed,
                "batch size": self.recipe.batch_size,
                "precision": loop.computes_in,
                "muon": loop.optim.matrix_lr is not None,
                "network": made.network,
                "cards": {card.name: digest(card.model_dump_json()) for card in made.cards},
                **made.fixed,
            },
            noted={
                "steps": loop.steps,
                "budget_s": loop.budget_s,
                "optimizer": asdict(loop.optim),
                "device": loop.device,
                "threads": self.options.threads,
                "processes": self.options.processes,
                "accumulate": loop.accumulate,
                **machine(),
                **made.noted,
            },
            data=tuple(made.data),
            assets=made.assets,
        )

    def about(self) -> dict[str, Any]:
        """What is known before the first step: recipe, versions, seed, machine, size, what the stage adds."""
        config, options = self.recipe.loop, self.options
        return {
            "recipe": self.recipe.name,
            "kinema": kinema.__version__,
            "commit": self.commit,
            "batch_size": self.recipe.batch_size,
            "seed": config.seed,
            "precision": config.computes_in,
            "lr": config.optim.lr,
            "matrix_lr": config.optim.matrix_lr,
            "rules": [asdict(rule) for rule in config.optim.rules],
            "averaged": config.optim.ema_decay is not None,
            "hardware": f"{platform.machine()}, {options.threads} thread(s), device {config.device}",
            "torch": str(torch.__version__),
            "processes": options.processes,
            "threads": options.threads,
            "parameters": sum(p.numel() for p in self.stage.model.parameters()),
            "trained": sum(p.numel() for p in self.stage.model.parameters() if p.requires_grad),
            **self.stage.provenance(),
        }

    def provenance(self, loop: Loop[Any]) -> dict[str, Any]:
        """The same, and what came of it: steps, samples, time."""
        return {
            **self.about(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "steps": loop.step,
            "samples": loop.step * self.recipe.batch_size,
            "train_s": round(loop.elapsed_s, 1),
            "drawn": [asdict(one) for one in loop.mixture.drawn()],
        }


def run(
    recipe: Recipe, data: Path, out: Path, options: Options | None = None, *,
    evaluate: Callable[[Path], Mapping[str, float]] | None = None, commit: str | None = None,
) -> Path:  # fmt: skip
    """Train, in as many processes as `options` says, and return the artifact folder `out/artifact`.

    evaluate: gets a freshly exported artifact every `evaluate_every` steps, and its numbers are logged;
        without it, what the stage judges of what it held out
    """
    options = options or Options()

    def work(group: Group) -> Path:
        loop = whole.train(group, evaluate)
        whole.export(loop, out / "artifact")
        if group.is_chief:
            made = {**whole.provenance(loop), "judged": whole.found}
            (out / "run.json").write_text(json.dumps(made, indent=1, default=str) + "\n")
            for line in _shares(loop.mixture.drawn()):
                print(line)
            for name, value in _numbers(whole.found).items():
                print(f"{name}: {value:.5g}")
        return out / "artifact"

    with joined(device_of(options.device)) as group:
        whole = group.first_alone(lambda: Run(recipe, data, out, options, commit))
        return work(group) if group.size > 1 else in_processes(options.processes, options.threads, work)


def _shares(drawn: Sequence[Drawn]) -> list[str]:
    """A table of what was really drawn: a line for each body of each kind of source."""
    samples, asked = Counter[tuple[str, str]](), defaultdict[tuple[str, str], float](float)
    for one in drawn:
        samples[one.kind, one.card] += one.samples
        asked[one.kind, one.card] += one.asked
    total = max(samples.total(), 1)
    return [
        f"drawn: {kind:<16} {card:<20} {count:>10} rows, {100 * count / total:5.1f} % "
        f"({100 * asked[kind, card]:.1f} % asked for)"
        for (kind, card), count in samples.items()
    ]


def _numbers(found: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of nested mappings by path."""
    flat: dict[str, float] = {}
    for name, value in found.items():
        if isinstance(value, Mapping):
            flat |= _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            flat[prefix + name] = float(value)
    return flat
