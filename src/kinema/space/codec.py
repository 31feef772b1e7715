"""One body's native actions and states to the unified space and back.

`encode` and `decode` stand side by side and are inverses on the mask, for values inside the statistics'
range (values outside are clipped to [-1, 1] on the way in). A gripper's slot is larger the further it is
open, whichever way its body counts. Training and serving use this one class.

Axes: T steps of a chunk, D native action channels, S native state channels, K unified slots.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kinema.card.card import Channel, EmbodimentCard
from kinema.space.layout import NUM_SLOTS, slot_index
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix
from kinema.space.stats import ChannelStats


class Codec:
    """Encodes chunks of one body. Raises ValueError at construction if card and statistics disagree."""

    def __init__(self, card: EmbodimentCard, actions: ChannelStats, states: ChannelStats) -> None:
        for what, stats, channels in (("action", actions, card.actions), ("state", states, card.states)):
            names = tuple(channel.name for channel in channels)
            if stats.names != names:
                raise ValueError(
                    f"{what} statistics are for channels {stats.names}, but card {card.name!r} has {names}"
                )
        self.card, self.action_stats, self.state_stats = card, actions, states
        self._frame = ChunkFrame(card)
        self._slots = np.array([slot_index(c.slot) for c in card.actions])
        self._state_slots = np.array([slot_index(c.slot) for c in card.states])
        self._signs, self._state_signs = _signs(card.actions), _signs(card.states)
        self.mask = _slot_mask(self._slots)
        self.state_mask = _slot_mask(self._state_slots)

    def encode(self, actions: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Native actions (..., T, D) and the state (..., S) as chunks begin, to float32 (..., T, K)."""
        relative = self._frame.enter(actions, state)
        scaled = (relative - self.action_stats.center) / self.action_stats.half_width
        unified = np.zeros((*actions.shape[:-1], NUM_SLOTS), np.float32)
        unified[..., self._slots] = self._signs * np.clip(scaled, -1.0, 1.0)
        return unified

    def decode(self, unified: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Unified actions (..., T, K) to native float64 (..., T, D); slots outside the mask are ignored."""
        scaled = self._signs * np.clip(unified[..., self._slots].astype(np.float64), -1.0, 1.0)
        return self._frame.leave(scaled * self.action_stats.half_width + self.action_stats.center, state)

    def beyond(self, actions: np.ndarray, state: np.ndarray) -> np.ndarray:
        """How far actions (..., T, D) lie outside the statistics, in half widths; `encode` clips these."""
        return self.action_stats.beyond(self._frame.enter(actions, state))

    def encode_state(self, state: np.ndarray) -> np.ndarray:
        """Native state (S,) or (N, S) to float32 (..., K), clipped to [-1, 1]."""
        scaled = (state - self.state_stats.center) / self.state_stats.half_width
        unified = np.zeros((*state.shape[:-1], NUM_SLOTS), np.float32)
        unified[..., self._state_slots] = self._state_signs * np.clip(scaled, -1.0, 1.0)
        return unified

    def decode_state(self, unified: np.ndarray) -> np.ndarray:
        """Native states float64 (..., S) of unified ones (..., K), not clipped: what lies between states may
        lie outside."""
        scaled = self._state_signs * unified[..., self._state_slots].astype(np.float64)
        return scaled * self.state_stats.half_width + self.state_stats.center


class ChunkFrame:
    """Moves native actions into and out of the frame of the body's pose when the chunk begins.

    Position channels marked "first_frame" subtract the state's value of the same slot; rotation channels
    marked so come in threes per arm (axis-angle, slots rot.0..2) and compose R_0^T R_t.
    """

    def __init__(self, card: EmbodimentCard) -> None:
        state_of = {channel.slot: i for i, channel in enumerate(card.states)}
        relative = [(i, c) for i, c in enumerate(card.actions) if c.reference == "first_frame"]
        missing = [c.slot for _, c in relative if c.slot not in state_of]
        if missing:
            raise ValueError(
                f"card {card.name!r}: actions {missing} are relative to the first frame, "
                f"but no state channel fills those slots; states fill {sorted(state_of)}"
            )
        plain = [(i, c) for i, c in relative if ".rot." not in c.slot]
        self._plain = np.array([i for i, _ in plain], int)
        self._plain_state = np.array([state_of[c.slot] for _, c in plain], int)
        self._rotations = _rotation_triples(card.name, relative, state_of)

    def enter(self, actions: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Native (..., T, D) to chunk-relative float64 (..., T, D)."""
        out = actions.astype(np.float64)
        out[..., self._plain] -= state[..., None, self._plain_state]
        for columns, state_columns in self._rotations:
            R_start_base = matrix_from_rotvec(-state[..., None, state_columns])
            out[..., columns] = rotvec_from_matrix(R_start_base @ matrix_from_rotvec(actions[..., columns]))
        return out

    def leave(self, relative: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Chunk-relative (..., T, D) to native float64 (..., T, D); the inverse of `enter`."""
        out = relative.astype(np.float64)
        out[..., self._plain] += state[..., None, self._plain_state]
        for columns, state_columns in self._rotations:
            R_base_start = matrix_from_rotvec(state[..., None, state_columns])
            out[..., columns] = rotvec_from_matrix(R_base_start @ matrix_from_rotvec(relative[..., columns]))
        return out


def _rotation_triples(
    card_name: str, relative: list[tuple[int, Channel]], state_of: dict[str, int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    triples = []
    for side in ("left", "right"):
        slots = [f"{side}.rot.{i}" for i in range(3)]
        columns = {c.slot: i for i, c in relative if c.slot.startswith(f"{side}.rot.")}
        if not columns:
            continue
        if sorted(columns) != slots:
            raise ValueError(
                f"card {card_name!r}: relative rotations need the slots {slots}, got {sorted(columns)}"
            )
        triples.append((np.array([columns[s] for s in slots]), np.array([state_of[s] for s in slots])))
    return triples


def _signs(channels: Sequence[Channel]) -> np.ndarray:
    """-1 where a larger native value closes a gripper, else 1: float64 (C,)."""
    ends = np.array([channel.closed_and_open for channel in channels]).reshape(-1, 2)
    return np.sign(ends[:, 1] - ends[:, 0])


def _slot_mask(slots: np.ndarray) -> np.ndarray:
    mask = np.zeros(NUM_SLOTS, bool)
    mask[slots] = True
    return mask
