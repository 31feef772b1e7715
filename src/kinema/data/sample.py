"""One way from what a body senses to what the network reads, for training and serving alike.

`inputs` is called by both: in training with many rows cut from data sets, in serving with one row from a
live observation. Rows may come from different bodies; a body with fewer cameras than the widest leaves the
rest masked.

Axes: n rows, V views, S image side, K unified slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kinema.card.card import EmbodimentCard
from kinema.card.prompt import asked_steps, prompt
from kinema.data.batch import Inputs
from kinema.data.picture import resize
from kinema.data.text import TextTokenizer
from kinema.schema import KinemaError, Observation, check_instruction
from kinema.space.codec import Codec
from kinema.space.layout import NUM_SLOTS


@dataclass(frozen=True, kw_only=True)
class Row:
    """One body's share of a batch: images uint8 (V, S, S, 3), native state (S,), prompt token ids.

    pictured: the state (S,) when the pictures were taken, where that is another one
    """

    images: np.ndarray
    state: np.ndarray
    tokens: list[int]
    codec: Codec
    pictured: np.ndarray | None = None


def prompt_tokens(
    tokenizer: TextTokenizer, card: EmbodimentCard, instruction: str, horizon: int
) -> list[int]:
    """What a network of this horizon is told. Raises KinemaError for a sentence it cannot be told."""
    return tokenizer.encode(prompt(card, check_instruction(instruction), asked_steps(card, horizon)))


def inputs(rows: Sequence[Row], tokenizer: TextTokenizer) -> Inputs:
    """Rows to network inputs (B = n)."""
    views = max(len(row.images) for row in rows)
    side = max(row.images.shape[1] for row in rows)  # 1 of a row without views
    images = np.zeros((len(rows), views, side, side, 3), np.uint8)
    image_mask = np.zeros((len(rows), views), bool)
    tags = np.full((len(rows), views, 2), tokenizer.pad_id, np.int64)
    state, moved = np.zeros((2, len(rows), NUM_SLOTS), np.float32)
    for i, row in enumerate(rows):
        images[i, : len(row.images)] = row.images
        image_mask[i, : len(row.images)] = True
        if len(row.images):
            tags[i, : len(row.images)] = tokenizer.camera_tags(row.codec.card)
        state[i] = row.codec.encode_state(row.state)
        if row.pictured is not None:
            moved[i] = state[i] - row.codec.encode_state(row.pictured)
    tokens, token_mask = tokenizer.pad([row.tokens for row in rows])
    return Inputs(
        images=torch.from_numpy(images).permute(0, 1, 4, 2, 3),
        image_mask=torch.from_numpy(image_mask),
        tokens=torch.from_numpy(tokens),
        token_mask=torch.from_numpy(token_mask),
        tags=torch.from_numpy(tags),
        state=torch.from_numpy(state),
        moved=torch.from_numpy(moved),
        state_mask=torch.from_numpy(np.stack([row.codec.state_mask for row in rows])),
        slot_mask=torch.from_numpy(np.stack([row.codec.mask for row in rows])),
    )


def observed_row(
    observation: Observation, codec: Codec, tokenizer: TextTokenizer, *, image_size: int, horizon: int
) -> Row:
    """Check a live observation against its card and make it a row for a network of this horizon.

    Raises KinemaError naming the camera, the value and what was expected.
    """
    card = codec.card
    images = [checked_image(observation.images, name, card) for name in card.camera_names]
    state = np.asarray(observation.state, np.float32)
    if state.shape != (len(card.states),):
        raise KinemaError(f"{card.name} state must have shape ({len(card.states)},), got {state.shape}")
    if not np.isfinite(state).all():
        bad = [c.name for c, v in zip(card.states, state) if not np.isfinite(v)]
        raise KinemaError(f"{card.name} state is not finite in {bad}")
    far = [
        f"{c.name} = {v:.3g} {c.unit}"
        for c, v in zip(card.states, state)
        if abs(v - (c.range[0] + c.range[1]) / 2) > (c.range[1] - c.range[0])
    ]
    if far:
        raise KinemaError(f"{card.name} state is far outside its card's range: {', '.join(far)}")
    return Row(
        images=np.stack([resize(image, image_size) for image in images]),
        state=state,
        tokens=prompt_tokens(tokenizer, card, observation.instruction, horizon),
        codec=codec,
    )


def checked_image(images: Mapping[str, np.ndarray], name: str, card: EmbodimentCard) -> np.ndarray:
    if name not in images:
        raise KinemaError(f"{card.name} needs camera {name!r}; the observation has {sorted(images)}")
    image = images[name]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise KinemaError(f"camera {name!r}: need uint8 (H, W, 3), got {image.dtype} {image.shape}")
    if min(image.shape[:2]) < 16 or max(image.shape[:2]) > 4096:
        raise KinemaError(f"camera {name!r}: sides must be 16 to 4096 pixels, got {image.shape[:2]}")
    return image
