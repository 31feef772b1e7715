"""From sources to an artifact: tokenizer, statistics, network, loop, export."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from kinema.card.prompt import prompt
from kinema.data.clipping import MOST_CLIPPED, check_clipping
from kinema.data.mixture import Mixture
from kinema.data.source import Source, measure_stats
from kinema.data.text import TextTokenizer
from kinema.model.policy import artifact
from kinema.model.policy.policy import Policy, PolicyConfig
from kinema.schema import KinemaError
from kinema.space.codec import Codec
from kinema.train import checkpoint, statistics
from kinema.train.cpu import keep_freed_memory
from kinema.train.loop import Loop, LoopConfig
from kinema.train.parallel import Group, in_processes
from kinema.train.provenance import recorded, trained
from kinema.train.record import DataPart, RunRecord, digest
from kinema.train.stages.sft import Sft, SftConfig

_WORDS, _STATISTICS, _PARENT = "tokenizer.json", "statistics.json", "started_from.json"  # in a checkpoint


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One supervised run. `policy` is a function of the vocabulary size, known once the words are."""

    name: str
    policy: Callable[[int], PolicyConfig]
    batch_size: int
    loop: LoopConfig
    sft: SftConfig = field(default_factory=SftConfig)
    vocab_size: int = 1024
    threads: int = 1
    processes: int = 1
    # most of a channel's targets that statistics from elsewhere (an artifact's, a checkpoint's) may clip
    most_clipped: float = MOST_CLIPPED

    def __post_init__(self) -> None:
        if self.processes < 1 or self.batch_size % self.processes:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of the {self.processes} training processes"
            )


class Training:
    """A run that can be built, resumed, run and exported. `out` keeps its checkpoint, logs and artifact."""

    def __init__(
        self, config: TrainConfig, sources: Sequence[Source], out: Path, init: Path | None = None,
        group: Group | None = None, commit: str | None = None, *, resume: bool = False,
    ) -> None:  # fmt: skip
        """`init`: start from this artifact, its words and its statistics, instead of from nothing.

        `group`: the processes that train together; each is given its share of every batch. `commit`: of the
        source, for the provenance; None if unknown. `resume`: go on from the newest checkpoint below `out`,
        with its words and its statistics, whatever the data has become; `init` is not looked at then.
        """
        group = group or Group()
        torch.set_num_threads(config.threads)
        keep_freed_memory()
        torch.manual_seed(config.loop.seed)
        self.config, self.sources, self.out = config, sources, out
        out.mkdir(parents=True, exist_ok=True)
        stored = RunRecord.read(checkpoint.newest(out / "checkpoint")).assets if resume else None
        start = artifact.load(init, check=False) if init and not resume else None
        if stored is not None:
            self.tokenizer = TextTokenizer.from_json(stored[_WORDS].decode())
        else:
            self.tokenizer = start.tokenizer if start else _tokenizer(sources, config.vocab_size)
        policy_config = config.policy(self.tokenizer.vocab_size)
        horizon = policy_config.decoder.horizon
        if stored is not None:
            self.codecs = statistics.from_bytes(stored[_STATISTICS])
            _check_bodies(sources, self.codecs)
        else:  # a body the artifact knows keeps the statistics its weights were trained with
            self.codecs = _codecs(sources, horizon, dict(start.codecs) if start else {})
        elsewhere = stored is not None or start is not None
        self.clipped = check_clipping(
            sources, self.codecs, horizon, config.most_clipped if elsewhere else 1.0
        )
        if not group.rank:
            for one in self.clipped:
                if one.notable:
                    print(one, flush=True)
        self._parent = json.loads(stored[_PARENT]) if stored else dict(start.provenance) if start else None
        self.policy = Policy(policy_config)
        if start:
            _take_over(self.policy, start.policy)
        self.mixture = Mixture(
            sources, self.codecs, self.tokenizer,
            batch_size=config.batch_size // group.size, horizon=horizon, seed=config.loop.seed,
            misnamed=config.sft.misnamed, late_steps=policy_config.late_steps,
            stream=group.rank, streams=group.size,
        )  # fmt: skip
        stage = Sft(self.policy, config.sft)
        self._commit = commit
        self.loop = Loop(
            self.policy, stage, stage.weights, self.mixture, config.loop, out, group, self._record()
        )
        if resume:
            self.loop.resume()

    def export(self, folder: Path) -> Path:
        """Write the averaged weights as an artifact."""
        state = {k: v.detach().cpu().clone() for k, v in self.loop.ema.weights.items()}
        policy = Policy(self.policy.config)
        policy.load_state_dict(state)
        position = self.mixture.state
        example = self.mixture.draw().inputs.first()
        self.mixture.state = position  # exporting in the middle of a run must not change what it draws next
        artifact.save(folder, policy, self.tokenizer, self.codecs, example, self._provenance())
        return folder

    def _record(self) -> RunRecord:
        return recorded(
            self.config,
            self.policy.config.to_json(),
            [_part(source) for source in self.sources],
            cards=[codec.card for codec in self.codecs.values()] + [source.card for source in self.sources],
            assets={
                _WORDS: self.tokenizer.to_json().encode(),
                _STATISTICS: statistics.to_bytes(self.codecs),
                _PARENT: json.dumps(self._parent).encode(),
            },
            noted={"stage": asdict(self.config.sft)},
        )

    def _provenance(self) -> dict:
        config = self.config
        return trained(config, self.loop, self.policy, self._commit) | {
            "lr": config.loop.optim.lr,
            "matrix_lr": config.loop.optim.matrix_lr,
            "torch": torch.__version__,
            "processes": config.processes,
            "threads": config.threads,
            "started_from": self._parent,
            "data": [_described(source) for source in self.sources],
            "clipped_share": {
                source.name: {c.channel: round(c.share, 4) for c in self.clipped if c.source == source.name}
                for source in self.sources
            },
        }


def run(
    config: TrainConfig, sources: Sequence[Source], out: Path, *, resume: bool = False,
    init: Path | None = None, evaluate: Callable[[Path], Mapping[str, float]] | None = None,
    commit: str | None = None,
) -> Path:  # fmt: skip
    """Train and return the artifact folder `out/artifact`.

    `evaluate` gets a freshly exported artifact every `loop.evaluate_every` steps; its numbers are logged.
    """

    def train(group: Group) -> Training:
        training = Training(config, sources, out, init, group, commit, resume=resume)

        def closed_loop(step: int) -> Mapping[str, float]:
            return evaluate(training.export(out / "latest")) if evaluate else {}

        training.loop.run(closed_loop if evaluate else None)
        return training

    return in_processes(config.processes, config.threads, train).export(out / "artifact")


def _take_over(policy: Policy, start: Policy) -> None:
    """Begin with another policy's weights. What only the new one has keeps its own beginning.

    Raises KinemaError when the two differ in more than that.
    """
    try:
        left = policy.load_state_dict(start.state_dict(), strict=False).unexpected_keys
    except RuntimeError as error:
        raise KinemaError(f"cannot start from it: {str(error).splitlines()[1].strip()}") from None
    if left:
        raise KinemaError(f"cannot start from it: this recipe's network has no {left[0]}")


def _tokenizer(sources: Sequence[Source], vocab_size: int) -> TextTokenizer:
    texts = [prompt(source.card, task, source.card.chunk) for source in sources for task in source.tasks]
    return TextTokenizer.train(texts, vocab_size)


def _codecs(sources: Sequence[Source], horizon: int, known: dict[str, Codec]) -> dict[str, Codec]:
    by_card: dict[str, list[Source]] = {}
    for source in sources:
        by_card.setdefault(source.card.name, []).append(source)
    new = {name: group for name, group in by_card.items() if name not in known}
    return known | {n: Codec(group[0].card, *measure_stats(group, horizon)) for n, group in new.items()}


def _check_bodies(sources: Sequence[Source], codecs: Mapping[str, Codec]) -> None:
    """Raise KinemaError where there is data of a body that the run has no statistics of."""
    if new := sorted({source.card.name for source in sources} - set(codecs)):
        raise KinemaError(
            f"the data holds {', '.join(new)}, which this run began without (it knows {', '.join(codecs)}); "
            f"start a new run from its artifact with --init"
        )


def _part(source: Source) -> DataPart:
    """The source by its numbers and a few of its pictures."""
    looked_at = source.starts[np.linspace(0, len(source.starts) - 1, min(16, len(source.starts))).astype(int)]
    return DataPart(
        name=source.name,
        rows=len(source.action),
        digest=digest(
            source.state, source.action, source.episode_end, source.task_index, list(source.tasks),
            source.starts, source.weight, source.images(looked_at),
        ),
    )  # fmt: skip


def _described(source: Source) -> dict:
    return {
        "source": source.name,
        "card": source.card.name,
        "steps": len(source.action),
        "windows": len(source.starts),
        "weight": source.weight,
    }
