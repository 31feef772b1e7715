"""What an edit changes beside the choice of episodes: features, sentences, the encoding of pictures.

Axes: N frames of the set that is edited, n numbers of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa

from kinema.data import schema_v30 as v30
from kinema.data.metadata import KEYS, NUMBERS, PICTURES, Features
from kinema.data.video import Encoding
from kinema.schema import KinemaError, check_instruction


@dataclass(frozen=True, kw_only=True)
class Added:
    """A new feature: values (N, n) of any numeric type, and its channels' names (n,)."""

    values: np.ndarray
    names: Sequence[str]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.dtype.name not in NUMBERS:
            raise KinemaError(
                f"a feature needs numbers (frames, channels); got {self.values.dtype} {self.values.shape}"
            )
        if len(self.names) != self.values.shape[1]:
            raise KinemaError(
                f"{len(self.names)} names {list(self.names)} for {self.values.shape[1]} channels"
            )
        if not np.isfinite(self.values).all():
            row = int(np.flatnonzero(~np.isfinite(self.values).all(1))[0])
            raise KinemaError(f"the new feature holds a non-finite value in frame {row}")

    @property
    def feature(self) -> dict[str, Any]:
        return {
            "dtype": self.values.dtype.name,
            "shape": [self.values.shape[1]],
            "names": list(self.names),
        }


@dataclass(frozen=True, kw_only=True)
class Change:
    """remove: features; rename: new names by old; add: by name; encoding: None keeps the pictures' own.

    retask: the new sentence by (position of the episode, old sentence); what it lacks stays
    """

    remove: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)
    add: Mapping[str, Added] = field(default_factory=dict)
    retask: Mapping[tuple[int, str], str] = field(default_factory=dict)
    encoding: Encoding | None = None

    def __post_init__(self) -> None:
        for task in self.retask.values():
            check_instruction(task)

    def name(self, feature: str) -> str | None:
        """What a feature is called afterwards; None where it is removed."""
        return None if feature in self.remove else self.rename.get(feature, feature)

    def task(self, episode: int, task: str) -> str:
        return self.retask.get((episode, task), task)

    def features(self, old: Features) -> dict[str, dict[str, Any]]:
        """The features of the new set. Raises KinemaError for a change that cannot be made to these."""
        for what in (*self.remove, *self.rename):
            if what in KEYS:
                raise KinemaError(
                    f"{what} is a column of every data set; it can be neither removed nor renamed"
                )
            if what not in old:
                near = get_close_matches(what, list(old), n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(old)}"
                raise KinemaError(f"there is no feature {what!r}; {hint}")
        new: dict[str, dict[str, Any]] = {}
        for feature, described in old.items():
            name = self.name(feature)
            if name is None:
                continue
            check_name(name, new)
            new[name] = dict(described)
            if self.encoding is not None and described["dtype"] in PICTURES:
                new[name]["dtype"] = "video"
        for name, added in self.add.items():
            check_name(name, new)
            new[name] = added.feature
        return new

    def rows(self, rows: pa.Table, features: Features, frames: slice) -> pa.Table:
        """The columns of some rows afterwards; `features` of the new set, `frames`: which rows these are."""
        kept: dict[str, pa.ChunkedArray | pa.Array] = {}
        for name in rows.column_names:
            new = self.name(name)
            if new is not None and features.get(new, {"dtype": ""})["dtype"] != "video":
                kept[new] = rows.column(name)
        for name, added in self.add.items():
            part = {name: added.values[frames]}
            kept[name] = v30.data_table(part, {name: added.feature}).column(name)
        return pa.table(kept)


AS_THEY_ARE = Change()


def check_name(name: str, taken: Mapping[str, object]) -> None:
    """Raise KinemaError unless a feature can be called so."""
    if not name or "/" in name or name in (".", ".."):
        raise KinemaError(f"{name!r} cannot be a feature's name")
    if name in taken:
        raise KinemaError(f"there would be two features {name!r}")
