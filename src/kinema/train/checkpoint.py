"""What a run needs to go on bit for bit, and what gives its weights their meaning.

    checkpoint/step_000000500/
        shard-00001-….safetensors  weights, averages and moments: a file of each process
        position.json   steps taken, seconds, batches drawn; randomness is a function of seed and step
        record.json     recipe, network, precision, seed, data: what is compared before a run goes on
        assets/         words, statistics, and what else was made of the data at the start

Tensors are saved by torch.distributed.checkpoint, every process its shard, and loaded by any number of them.
They lie in safetensors, the rest in JSON. They are copied between two steps and written while training goes
on: beside the other checkpoints, flushed to the disk and only then given a name, so no kill leaves a half
behind, and the last few are kept. Weights that are not finite are not written.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.storage import WriteResult

from kinema.data.stream import StreamState
from kinema.model.stored import flush, flush_one, read_header, read_json
from kinema.schema import KinemaError
from kinema.train.optim import Ema, Optimizer
from kinema.train.parallel import Group, SharedError
from kinema.train.record import RunRecord
from kinema.train.shard import shard

_PARTIAL = ".partial"
_WEIGHTS, _AVERAGES, _MOMENTS = "model.", "average.", "optimizer."  # before names of tensors


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a run stands, between two steps. skipped: steps in a row just before that were not taken."""

    step: int
    elapsed_s: float
    mixture: StreamState
    skipped: int = 0


class Saver:
    """Writes the checkpoints below a folder, one at a time; the whole group takes part in every call."""

    def __init__(self, folder: Path, record: RunRecord, keep: int, group: Group) -> None:
        """keep: how many checkpoints, the newest"""
        self.folder, self.record, self.keep, self.group = folder, record, keep, group
        self._writing: Future[Any] | None = None

    def save(self, position: Position, model: nn.Module, ema: Ema, optimizer: Optimizer) -> None:
        """Copy what is to be saved, as it is now, and begin to write it, unless it is there already.

        Raises KinemaError, and leaves everything as it was, when a weight or an average is not finite, and
        as `wait` does.
        """
        self.wait()
        whole = self.folder / f"step_{position.step:09d}"
        if whole.exists():
            return
        if self.group.is_chief:
            _discard(self.folder.glob(f"*{_PARTIAL}"))  # before the others, who meet it below, begin anew
        state = {name: value.contiguous() for name, value in state_of(model, ema, optimizer).items()}
        _check_finite(state, self.group)
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # a single process
        writing = dcp.async_save(
            state, storage_writer=_Writer(whole, position, self.record, self.keep),
            process_group=self.group.apart, no_dist=self.group.size == 1,
        )  # fmt: skip
        self._writing = cast("Future[Any]", writing)

    def wait(self) -> None:
        """Until what is being written has its name. Raises SharedError, once, where it could not be."""
        writing, self._writing = self._writing, None
        if writing:
            with _in_words(f"a checkpoint in {self.folder} could not be written, the last one stays"):
                writing.result()

    @property
    def failed(self) -> bool:
        """Whether `wait` would raise, as far as this process knows already."""
        return bool(self._writing and self._writing.done() and self._writing.exception())


class _Writer(HuggingFaceStorageWriter):
    """Gives a checkpoint its name once every process has written its shard."""

    def __init__(self, whole: Path, position: Position, record: RunRecord, keep: int) -> None:
        self._whole, self._partial = whole, whole.with_name(whole.name + _PARTIAL)
        self._position, self._record, self._keep = position, record, keep
        super().__init__(str(self._partial), save_distributed=True)

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Called in the chief; what it raises is raised in all."""
        files = sorted(path.name for path in self._partial.iterdir())
        position = json.dumps({**asdict(self._position), "files": files})
        (self._partial / "position.json").write_text(position)
        self._record.write(self._partial)
        flush(self._partial)
        self._partial.rename(self._whole)
        flush_one(self._whole.parent)
        _discard(stored(self._whole.parent)[self._keep :])


def stored(folder: Path) -> list[Path]:
    """The whole checkpoints below `folder`, the newest first."""
    return sorted((p for p in folder.glob("step_*") if p.suffix != _PARTIAL), reverse=True)


def newest(folder: Path) -> Path:
    """The newest one. Raises KinemaError when there is none."""
    for path in stored(folder):
        return path
    if (folder / "position.json").is_file():
        raise KinemaError(f"{folder} was written by an earlier kinema and cannot be gone on with; start anew")
    raise KinemaError(f"no checkpoint in {folder}")


def load(folder: Path, model: nn.Module, ema: Ema, optimizer: Optimizer, group: Group) -> Position:
    """Restore the newest checkpoint below `folder` into freshly built parts, sharded as they are.

    Raises KinemaError when there is none, it is damaged, or it belongs to another network.
    """
    path = newest(folder)
    data = read_json(path / "position.json", "checkpoint")
    for name in data.pop("files"):
        read_header(path / name, "checkpoint")
    reader = HuggingFaceStorageReader(str(path))
    stored_tensors: Mapping[str, Any] = reader.read_metadata().state_dict_metadata
    there = {name: torch.Size(found.size) for name, found in stored_tensors.items()}
    optimizer.make_room({k.removeprefix(_MOMENTS): v for k, v in there.items() if k.startswith(_MOMENTS)})
    state = state_of(model, ema, optimizer)
    younger = {name for name in ema.weights if f"{_AVERAGES}{name}" not in there}  # frozen until now
    for name in younger:
        del state[f"{_AVERAGES}{name}"]
    weights = {name for name in there if name.startswith(_WEIGHTS)}
    for name in sorted(weights | state.keys()):
        was, now = there.get(name), state[name].shape if name in state else None
        if was != now:
            raise KinemaError(f"{path} was made by another recipe or version: {name} was {was} and is {now}")
    with _in_words(f"{path} cannot be read"):
        dcp.load(state, storage_reader=reader, no_dist=group.size == 1)
    for name in younger:
        ema.weights[name].copy_(state[_WEIGHTS + name])
    return Position(**{**data, "mixture": StreamState(**data["mixture"])})


def state_of(model: nn.Module, ema: Ema, optimizer: Optimizer) -> dict[str, Tensor]:
    """Weights, averages and moments by name, as they are: filling them changes the run."""
    return {
        **{_WEIGHTS + name: value.detach() for name, value in model.state_dict().items()},
        **{_AVERAGES + name: value for name, value in ema.weights.items()},
        **{_MOMENTS + name: value for name, value in optimizer.moments().items()},
    }


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """torch reports what failed in any process in all of them, as no Exception: here it is one."""
    try:
        yield
    except CheckpointException as error:
        cause = next(iter(error.failures.values()))[0]
        if not isinstance(cause, Exception):  # Ctrl-C
            raise cause from None
        raise SharedError(f"{what}: {cause}") from error


def _check_finite(state: Mapping[str, Tensor], group: Group) -> None:
    bad = [
        name for name, value in state.items()
        if not name.startswith(_MOMENTS) and value.is_floating_point()
        and not torch.isfinite(shard(value)).all()
    ]  # fmt: skip
    if any(found := group.gather(bad[:1])):
        name = next(one for one in found if one)[0]
        raise SharedError(f"not saved: {name} is not finite; the last checkpoint stays")


def _discard(folders: Iterable[Path]) -> None:
    """Remove checkpoints; what a kill leaves of one is no checkpoint any more."""
    for folder in folders:
        doomed = folder.with_suffix(_PARTIAL)
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
