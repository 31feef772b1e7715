"""Open-loop error: how far what a policy would do is from what was demonstrated, without acting.

Beside it stand two that know nothing: holding still, and the mean action. An error is a mean absolute
difference over the steps of all chunks of an episode, of each channel in its own unit.

Axes: n chunks, T steps, D channels, E episodes, U units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.bench.metrics.intervals import bootstrap95

POLICY, HOLD, MEAN = "policy", "holding still", "mean action"


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """What was demonstrated: actions (n, T, D), whether a step is real (n, T), and of which episode (n,)."""

    actions: np.ndarray
    real: np.ndarray
    episode: np.ndarray

    def errors(self, told: np.ndarray) -> np.ndarray:
        """Of told actions (n or 1, T or 1, D), by episode and channel: (E, D), episodes ascending."""
        away = np.abs(told - self.actions) * self.real[..., None]
        rows = []
        for episode in np.unique(self.episode):
            mine = self.episode == episode
            rows.append(away[mine].sum((0, 1)) / self.real[mine].sum())
        return np.stack(rows)


@dataclass(frozen=True, kw_only=True)
class OpenLoop:
    """errors: (E, D) of each who was asked, by name; channels and units: (D,) of them."""

    channels: Sequence[str]
    units: Sequence[str]
    episodes: Sequence[int]
    errors: Mapping[str, np.ndarray]

    def by_unit(self) -> dict[str, dict[str, np.ndarray]]:
        """Mean error (E,) of the channels of a unit, by unit and name."""
        return {
            unit: {
                name: found[:, np.array(self.units) == unit].mean(1) for name, found in self.errors.items()
            }
            for unit in dict.fromkeys(self.units)
        }

    def to_json(self) -> dict[str, Any]:
        """Means with 95 % intervals over episodes by unit, and means by channel."""
        return {
            "episodes": list(self.episodes),
            "by_unit": {
                unit: {name: summary(values) for name, values in errors.items()}
                for unit, errors in self.by_unit().items()
            },
            "by_channel": {
                channel: {
                    "unit": unit, **{name: float(found[:, i].mean()) for name, found in self.errors.items()}
                }
                for i, (channel, unit) in enumerate(zip(self.channels, self.units))
            },
        }  # fmt: skip


def summary(values: np.ndarray) -> dict[str, Any]:
    """Mean over episodes (E,) and its 95 % interval (bootstrap over episodes)."""
    return {"mean": float(values.mean()), "ci95": list(bootstrap95(values.tolist()))}
