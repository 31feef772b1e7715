"""From chunks to single actions: ask the policy, play the first steps of its answer, ask again."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from kinema.card.load import load_card
from kinema.runtime.policy import hold_action
from kinema.schema import ActionChunk, KinemaError, Observation, Policy, Verdict


class ChunkPlayer:
    """Receding-horizon execution: of every chunk the first `replan_steps` are played.

    `act` calls `observe` only when a new chunk is needed, so nothing is rendered in between. In place of a
    chunk that a gate refused the card's hold action is played for one step; then the policy is asked again.
    `verdicts` keeps what the gate said, with the time of the observation.
    """

    def __init__(self, policy: Policy, card_name: str, replan_steps: int = 8) -> None:
        if replan_steps < 1:
            raise KinemaError(f"replan_steps must be at least 1; got {replan_steps}")
        self.policy = policy
        self.card_name = card_name
        self.replan_steps = replan_steps
        self.latency_s: list[float] = []
        self.verdicts: list[tuple[float, Verdict]] = []
        self._values: np.ndarray = np.empty((0, 0))
        self._played = 0

    def reset(self, seed: int) -> None:
        """Forget the running chunk and start the policy's own randomness from `seed`."""
        self.policy.reset(seed)
        self.latency_s, self.verdicts = [], []
        self._values = np.empty((0, 0))
        self._played = 0

    @property
    def must_ask(self) -> bool:
        """Whether the next `act` will observe and ask the policy."""
        return self._played >= min(self.replan_steps, len(self._values))

    def act(self, observe: Callable[[], Observation]) -> np.ndarray:
        """The next native action, float64 (D,). Raises KinemaError for an empty or non-finite chunk."""
        if self.must_ask:
            observation = observe()
            began = time.perf_counter()
            chunk = self.policy.infer(observation, self.card_name)
            self.latency_s.append(time.perf_counter() - began)
            if len(chunk.values) == 0 or not np.isfinite(chunk.values).all():
                raise KinemaError(
                    f"the policy's chunk for {self.card_name} at {observation.time_s:.2f} s has "
                    f"shape {chunk.values.shape}, not all values finite or no step at all"
                )
            self._values, self._played = self._allowed(chunk, observation), 0
        action = self._values[self._played]
        self._played += 1
        return action

    def _allowed(self, chunk: ActionChunk, observation: Observation) -> np.ndarray:
        """The values (T, D) to play: the chunk's, or one hold action where its verdict forbids it."""
        if chunk.verdict is None:
            return chunk.values
        self.verdicts.append((observation.time_s, chunk.verdict))
        if chunk.verdict.allowed:
            return chunk.values
        return hold_action(load_card(self.card_name), observation.state)[None]
