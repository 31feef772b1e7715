"""Policies that break, for worker processes to import."""

from __future__ import annotations

from kinema.runtime.policy import HoldPolicy
from kinema.schema import ActionChunk, Observation


class Broken(HoldPolicy):
    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        raise RuntimeError("the policy broke")
