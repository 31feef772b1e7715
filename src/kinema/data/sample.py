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
from kinema.data.batch import Inputs, Replies
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


@dataclass(frozen=True, kw_only=True)
class Talk:
    """A question's share of a batch: images uint8 (V, S, S, 3), token ids before the pictures and after them.

    learnt: which of those after them are an answer's
    """

    images: np.ndarray
    tokens: list[int]
    reply: list[int]
    learnt: list[bool]


def talk(
    images: Sequence[np.ndarray], turns: Sequence[tuple[str, str | None]], tokenizer: TextTokenizer, *,
    image_size: int, closing: Sequence[int] = (),
) -> Talk:  # fmt: skip
    """Pictures, uint8 (H, W, 3) each, questions and answers; one of None is to be found, and is the last.

    image_size: pixels of a side that the network reads
    closing: what it puts after its pictures (`PolicyConfig.closing`): the end of who asks, and the beginning
        of an answer. Where there is none, the token for padding stands there, and ends an answer.

    Raises KinemaError for a question or an answer of too many tokens.
    """
    empty = np.zeros((0, image_size, image_size, 3), np.uint8)
    shown = np.stack([resize(image, image_size) for image in images]) if len(images) else empty
    begins, end = (list(closing) or [tokenizer.pad_id]), end_of_answer(tokenizer, closing)
    reply: list[int] = [] if closing else begins
    learnt = [False] * len(reply)
    for i, (question, answer) in enumerate(turns):
        if i:
            asked = [*tokenizer.encode(question), *begins]
            reply, learnt = reply + asked, learnt + [False] * len(asked)
        if answer is not None:
            said = [*tokenizer.encode(answer, bare=True), end]
            reply, learnt = reply + said, learnt + [True] * len(said)
    return Talk(images=shown, tokens=tokenizer.encode(turns[0][0]), reply=reply, learnt=learnt)


def end_of_answer(tokenizer: TextTokenizer, closing: Sequence[int] = ()) -> int:
    """The token that ends an answer: what ends a turn of a chat, or the one for padding."""
    return closing[0] if closing else tokenizer.pad_id


def replies(talks: Sequence[Talk], tokenizer: TextTokenizer) -> Replies:
    """Talks as one batch (B = n)."""
    views = max(len(one.images) for one in talks)
    side = max(one.images.shape[1] for one in talks)
    images = np.zeros((len(talks), views, side, side, 3), np.uint8)
    image_mask = np.zeros((len(talks), views), bool)
    for i, one in enumerate(talks):
        images[i, : len(one.images)] = one.images
        image_mask[i, : len(one.images)] = True
    tokens, token_mask = tokenizer.pad([one.tokens for one in talks])
    length = max(len(one.reply) for one in talks)
    reply = np.full((len(talks), length), tokenizer.pad_id, np.int64)
    reply_mask, learnt = np.zeros((2, len(talks), length), bool)
    for i, one in enumerate(talks):
        reply[i, : len(one.reply)], learnt[i, : len(one.reply)] = one.reply, one.learnt
        reply_mask[i, : len(one.reply)] = True
    tags = np.tile(np.array(tokenizer.tag_ids("ego"), np.int64), (len(talks), views, 1))
    return Replies(
        images=torch.from_numpy(images).permute(0, 1, 4, 2, 3),
        **{
            name: torch.from_numpy(value)
            for name, value in (
                ("image_mask", image_mask), ("tokens", tokens), ("token_mask", token_mask), ("tags", tags),
                ("reply", reply), ("reply_mask", reply_mask), ("learnt", learnt),
            )
        },
    )  # fmt: skip


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
