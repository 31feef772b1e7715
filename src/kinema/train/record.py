"""What a run was made of: what gives its weights their meaning, and what is compared before it goes on.

`fixed` may not change within a run: other numbers would be put under the old weights, or other randomness.
`noted` may (learning rate, length, machine), but is said. `data` grows by design; what was made of it at the
start, words and statistics, lies in `assets` and is never made anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import kinema
from kinema.model.stored import read_json
from kinema.schema import KinemaError


@dataclass(frozen=True, kw_only=True)
class DataPart:
    """One data set, or one body's part of it, as a run saw it. digest: of its numbers; rows: how many."""

    name: str
    rows: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """See the module docstring. assets: files by name."""

    fixed: Mapping[str, Any]
    noted: Mapping[str, Any]
    data: Sequence[DataPart] = ()
    assets: Mapping[str, bytes] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """`record.json` and `assets` below a folder."""
        about = {"fixed": self.fixed, "noted": self.noted, "data": [asdict(part) for part in self.data]}
        (folder / "record.json").write_text(json.dumps(about, indent=1) + "\n")
        (folder / "assets").mkdir()
        for name, content in self.assets.items():
            (folder / "assets" / name).write_bytes(content)

    @staticmethod
    def read(folder: Path) -> RunRecord:
        """What `write` left. Raises KinemaError when it is missing or damaged."""
        about = read_json(folder / "record.json", "checkpoint")
        files = sorted((folder / "assets").iterdir())
        return RunRecord(
            fixed=about["fixed"],
            noted=about["noted"],
            data=tuple(DataPart(**part) for part in about["data"]),
            assets={path.name: path.read_bytes() for path in files},
        )

    def check_continues(self, stored: RunRecord) -> list[str]:
        """What has changed since, a sentence each. Raises KinemaError when this is not the same run."""
        if changes := _changes(stored.fixed, self.fixed):
            raise KinemaError(f"this is not the run of the checkpoint: {'; '.join(changes)}")
        for name in sorted({*stored.assets, *self.assets}):
            if stored.assets.get(name) != self.assets.get(name):
                raise KinemaError(
                    f"{name} was made anew and is not what the checkpoint's weights were trained with; "
                    f"build the training with resume=True, which reads it back"
                )
        return [*_changes(stored.noted, self.noted), *_data_changes(stored.data, self.data)]

    def unlike(self, other: RunRecord) -> list[str]:
        """What another process has differently, a sentence each, of what must be the same."""
        return [*_changes(self.fixed, other.fixed), *_data_changes(self.data, other.data)]


def machine() -> dict[str, Any]:
    """Versions, for `noted`."""
    return {"kinema": kinema.__version__, "torch": str(torch.__version__)}


def _changes(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    before, after = dict(_flat(stored)), dict(_flat(now))
    return [
        f"{name} was {_short(before.get(name, 'not there'))} and is {_short(after.get(name, 'not there'))}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name, ...) != after.get(name, ...)
    ]


def _flat(value: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Leaves by dotted name, as JSON gives them back."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, json.loads(json.dumps(value))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _data_changes(stored: Sequence[DataPart], now: Sequence[DataPart]) -> list[str]:
    same = {(part.name, part.digest) for part in stored} & {(part.name, part.digest) for part in now}
    before = {part.name: part for part in stored if (part.name, part.digest) not in same}
    after = {part.name: part for part in now if (part.name, part.digest) not in same}
    said = []
    for name in dict.fromkeys([*before, *after]):
        if name not in after:
            said.append(f"data {name} is gone")
        elif name not in before:
            said.append(f"data {name} is new ({after[name].rows} rows)")
        else:
            said.append(f"data {name} has changed ({before[name].rows} rows before, {after[name].rows} now)")
    return said


def digest(*values: Any) -> str:
    """A short fingerprint of arrays, tensors, and what JSON can hold."""
    found = hashlib.blake2b(digest_size=16)
    for value in values:
        if isinstance(value, Tensor):
            value = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        if isinstance(value, np.ndarray) and value.dtype != object:
            found.update(f"{value.dtype.str}{value.shape}".encode())
            found.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        else:
            found.update(json.dumps(value, sort_keys=True, default=str).encode())
    return found.hexdigest()


def weights_digest(model: nn.Module) -> str:
    """A fingerprint of a network's weights."""
    return digest(*(value for _, value in sorted(model.state_dict().items())))
