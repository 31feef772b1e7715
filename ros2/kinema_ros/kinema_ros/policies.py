"""Which policy a node's parameters mean: a local artifact, a `kinema serve` address, or doing nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kinema.card.card import EmbodimentCard
from kinema.schema import ActionChunk, KinemaError, Observation, Policy, Verdict


class Telling:
    """A policy whose verdicts are told as they come, those that refuse a chunk too."""

    def __init__(self, policy: Policy, tell: Callable[[Verdict], None]) -> None:
        self.policy, self._tell = policy, tell

    def reset(self, seed: int) -> None:
        self.policy.reset(seed)

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        chunk = self.policy.infer(observation, card_name, committed)
        if chunk.verdict is not None:
            self._tell(chunk.verdict)
        return chunk


def policy_of(name: str, card: EmbodimentCard, *, gate: bool, timeout_s: float, threads: int) -> Policy:
    """The policy that a word names for this body.

    name: `hold`, ws://host:port of a `kinema serve` (whose own gate judges, where it has one), `shipped`, or
    an artifact's name or folder. gate: judge a local policy's chunks by the shipped gate
    """
    from kinema.commands import policies
    from kinema.commands.serve.client import connected

    if name == "hold" or policies.is_address(name):
        return connected(name, card, timeout_s=timeout_s).__enter__()
    known = policies.trained_bodies(name, (card.name,))
    if known and card.name not in known:
        raise KinemaError(f"policy {name!r} was not trained on {card.name}; it knows {', '.join(known)}")
    import torch

    torch.set_num_threads(threads)
    policy: Any = policies.policy_factory(name, (card.name,)).build()
    if not gate:
        return policy
    from kinema.model.gate.gate import Gate, GatedPolicy

    folder = policies.gate_folder()
    judge = Gate(folder) if folder is not None else None
    if judge is None or card.name not in judge.bodies or not hasattr(policy, "propose"):
        raise KinemaError(f"no shipped gate judges {name!r} on {card.name}; set the parameter gate to false")
    return GatedPolicy(policy, judge)
