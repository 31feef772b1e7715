"""The benchmark's own scripted expert as a policy: it checks the runner and bounds what can be reached."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

from kinema.bench.benchmark import Environment
from kinema.card.load import load_card
from kinema.schema import ActionChunk, KinemaError, Observation


class _WithExpert(Environment, Protocol):
    def expert_action(self) -> np.ndarray: ...


class ExpertPolicy:
    """Privileged: reads the simulator's state; a feedback policy, so it answers one step at a time."""

    provenance: ClassVar = {"policy": "expert (privileged, scripted)"}

    def __init__(self) -> None:
        self._environment: _WithExpert | None = None

    def attach(self, environment: Environment) -> None:
        """Look at this environment from now on. Raises KinemaError when it has no expert."""
        if not hasattr(environment, "expert_action"):
            raise KinemaError(
                f"{type(environment).__name__} has no expert_action(), so no expert can act in it"
            )
        self._environment = environment  # type: ignore[assignment]

    def reset(self, seed: int) -> None:
        """The experts keep no state of their own."""

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        """A chunk of one step."""
        if self._environment is None:
            raise KinemaError("the expert must be attached to an environment before it can act")
        action = np.asarray(self._environment.expert_action(), dtype=np.float64)
        due_s = observation.time_s + 1.0 / load_card(card_name).control_hz
        return ActionChunk(values=action[None], times_s=np.array([due_s]), card=card_name)
