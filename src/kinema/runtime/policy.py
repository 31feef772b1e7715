"""Policies that need no network. A policy has `reset(seed)` and `infer(observation, card_name)`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.schema import ActionChunk, KinemaError, Observation


def hold_action(card: EmbodimentCard, state: np.ndarray) -> np.ndarray:
    """What doing nothing is for this body in this measured state, float64 (D,).

    Raises KinemaError when what a channel is to keep is not measured.
    """
    measured = {channel.slot: float(value) for channel, value in zip(card.states, state)}
    kept = [channel for channel in card.actions if card.keeps(channel)]
    if missing := [channel.name for channel in kept if channel.slot not in measured]:
        raise KinemaError(f"{card.name} cannot hold its position: {missing} are not among its states")
    return np.array([measured[c.slot] if card.keeps(c) else 0.0 for c in card.actions])


class CardPolicy(ABC):
    """A policy that knows a body's card and its measured state, and nothing more.

    cards: of bodies that are not shipped; the others are found by name.
    """

    blind = True  # looks at no picture, so none is rendered for it

    def __init__(self, *cards: EmbodimentCard) -> None:
        self._cards = {card.name: card for card in cards}

    def reset(self, seed: int) -> None:
        """Begin an episode: nothing to forget."""
        return

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        """A chunk of the card's length, at the card's rate."""
        if card_name not in self._cards:
            self._cards[card_name] = load_card(card_name)
        card = self._cards[card_name]
        times_s = observation.time_s + (1 + np.arange(card.chunk)) / card.control_hz
        return ActionChunk(values=self.values(card, observation.state), times_s=times_s, card=card_name)

    @abstractmethod
    def values(self, card: EmbodimentCard, state: np.ndarray) -> np.ndarray:
        """Native actions (chunk, D)."""


class HoldPolicy(CardPolicy):
    """Does nothing, as the body's card defines it: keeps the measured pose, or sends zeros."""

    provenance: ClassVar = {"policy": "hold"}

    def values(self, card: EmbodimentCard, state: np.ndarray) -> np.ndarray:
        """The hold action. Raises KinemaError when a channel's pose is not measured."""
        return np.tile(hold_action(card, state), (card.chunk, 1))
