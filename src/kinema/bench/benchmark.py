"""What a benchmark is: named tasks in named groups, and an environment for each.

Benchmarks and policies cross process borders as a `Factory`, an importable callable with plain arguments,
so that nothing alive is ever copied between processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from kinema.schema import KinemaError, Observation


class Environment(Protocol):
    """One task to be tried. `step` never renders; `observe` renders only when asked."""

    max_steps: int

    @property
    def instruction(self) -> str: ...

    def reset(self, seed: int) -> None: ...

    def observe(self, render: bool = True) -> Observation: ...

    def step(self, action: np.ndarray) -> None: ...

    def success(self) -> bool: ...

    def measures(self) -> Mapping[str, float]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One row of the results.

    name:   unique in the benchmark, also a valid part of a path once "/" is replaced
    card:   the body that acts
    groups: value by kind, for example {"difficulty": "easy"}; the first kind is the benchmark's headline mean
    expert: whether its environment has an `expert_action()` that solves it
    """

    name: str
    card: str
    control_hz: float
    groups: Mapping[str, str]
    expert: bool = False


class Benchmark(Protocol):
    name: str

    def tasks(self) -> tuple[TaskSpec, ...]: ...

    def make(self, task: str) -> Environment: ...

    def provenance(self) -> Mapping[str, Any]:
        """Settings that decide the number: rendering, protocol, packages whose versions matter."""
        ...


@runtime_checkable
class Privileged(Protocol):
    """A policy that looks at the simulator itself (a scripted expert). It is given no pictures."""

    def attach(self, environment: Environment) -> None: ...


@runtime_checkable
class NumberedStarts(Protocol):
    """An environment whose benchmark fixes where episodes begin: the episode's index says where."""

    def reset_to(self, index: int, seed: int) -> None:
        """In place of `reset`; the seed decides whatever else is drawn."""
        ...


@runtime_checkable
class JudgedAtTheEnd(Protocol):
    """An environment whose benchmark asks for success after the last step only: episodes have all steps."""

    judged_at_the_end: Literal[True]


@runtime_checkable
class EndsEarly(Protocol):
    """An environment whose episode may be over before its last step, without success."""

    def over(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class Factory:
    """`module:callable` and its keyword arguments (JSON values only)."""

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> Any:
        """Import and call. Raises KinemaError when the target does not exist."""
        module_name, _, attribute = self.target.partition(":")
        try:
            make = getattr(import_module(module_name), attribute)
        except (ModuleNotFoundError, AttributeError, ValueError) as error:
            raise KinemaError(f"cannot import {self.target!r} (module:callable): {error}") from error
        return make(**self.arguments)

    def moved(self, places: Mapping[str, str]) -> Factory:
        """The same with other paths: wherever one of these strings stands in the arguments."""
        return Factory(target=self.target, arguments=_moved(self.arguments, places))


def _moved(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _moved(inner, places) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(inner, places) for inner in value)
    return places.get(value, value) if isinstance(value, str) else value
