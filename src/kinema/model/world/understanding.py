"""What the frozen multimodal model makes of first pictures and a sentence: the world model's text stream.

It is the policy's own backbone. Its word states have read the sentence, its picture states the sentence and
the picture, and its pointing head says where the named thing and the place it goes are. All of it is computed
without gradient, so that it can be computed once for every clip.

Axes: B batch, L words, V views, N = g * g cells of a picture, P points, C width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kinema.card.card import EmbodimentCard
from kinema.data.batch import Tensors, joined
from kinema.data.sample import prompt_tokens
from kinema.model.policy.artifact import Artifact
from kinema.schema import KinemaError

# A sentence of up to WORDS tokens ends at token WORDS, a longer one begins at 0: the same sentence stands
# at the same place, whatever else is in the batch.
WORDS, MOST_WORDS = 32, 64


@dataclass(frozen=True, kw_only=True)
class Understood(Tensors):
    """words (B, L, C) and their mask (B, L); pictures (B, V, N, C); where (B, V, P, N + 3).

    `where` holds, for each point, its probability in every cell, and then u, v and whether it is visible.
    `seen` (B,) is False where the pictures and the points may not be looked at.
    """

    words: Tensor
    word_mask: Tensor
    pictures: Tensor
    where: Tensor
    seen: Tensor

    def __len__(self) -> int:
        return len(self.words)

    def rows(self, index: Tensor) -> Understood:
        """Of these clips only, with no more tokens than they need."""
        chosen = self.each(lambda tensor: tensor[index])
        return chosen.padded(max(WORDS, 1 + int(chosen.word_mask.any(0).nonzero().max())))

    def padded(self, length: int) -> Understood:
        """With so many tokens: what is left out or added is masked."""
        more = length - self.words.shape[1]
        words, mask = F.pad(self.words, (0, 0, 0, more)), F.pad(self.word_mask, (0, more))
        return replace(self, words=words, word_mask=mask)

    def views(self, first: int, end: int) -> Understood:
        """Of these views only."""
        return replace(self, pictures=self.pictures[:, first:end], where=self.where[:, first:end])

    def unseen(self) -> Understood:
        """The words alone, for tasks without a first picture."""
        return replace(self, seen=torch.zeros_like(self.seen))

    def half(self) -> Understood:
        """In half precision, to be kept in memory."""
        return self.each(lambda tensor: tensor.half() if tensor.is_floating_point() else tensor)


def join(parts: Sequence[Understood]) -> Understood:
    """All clips, padded to the most tokens among them."""
    length = max(part.words.shape[1] for part in parts)
    return joined([part.padded(length) for part in parts])


@torch.no_grad()
def understand(
    policy: Artifact, card: EmbodimentCard, images: np.ndarray, instructions: Sequence[str],
    cameras: Sequence[str] = (),
) -> Understood:  # fmt: skip
    """First pictures uint8 (B, V, S, S, 3) of these cameras of a body (default: all) and a sentence each.

    Raises KinemaError when a sentence is too long.
    """
    tokenizer, network = policy.tokenizer, policy.policy
    horizon = network.config.decoder.horizon
    rows = [prompt_tokens(tokenizer, card, sentence, horizon) for sentence in instructions]
    longest = max(len(row) for row in rows)
    if longest > MOST_WORDS:
        raise KinemaError(
            f"the sentence makes {longest} tokens with the body's prompt; at most {MOST_WORDS} fit"
        )
    length = max(WORDS, longest)
    tokens = np.full((len(rows), length), tokenizer.pad_id, np.int64)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):  # padded on the left, as in the policy
        tokens[i, length - len(row) :], mask[i, length - len(row) :] = row, True
    chosen = [card.camera_names.index(name) for name in cameras or card.camera_names]
    tags = torch.from_numpy(tokenizer.camera_tags(card)[chosen])
    pixels = torch.from_numpy(images).permute(0, 1, 4, 2, 3)
    context = network.backbone(
        pixels, torch.ones(pixels.shape[:2], dtype=torch.bool), torch.from_numpy(tokens),
        torch.from_numpy(mask), tags.expand(len(rows), -1, -1),
    )  # fmt: skip
    B, V, N = context.image_tokens.shape[:3]
    where = torch.zeros(B, V, 0, N + 3)
    if network.point_head is not None:
        pointed = network.point_head(context.image_tokens)
        cells = pointed.logits.softmax(-1)[..., :-1]
        where = torch.cat([cells, pointed.uv, pointed.visible[..., None]], -1)
    # a short sentence beside a long one moves to where it always stands
    moved = torch.tensor([length - max(WORDS, len(row)) for row in rows])
    place = (torch.arange(length) + moved[:, None]) % length
    return Understood(
        words=context.hidden[:, :length].gather(1, place[..., None].expand(-1, -1, context.hidden.shape[2])),
        word_mask=torch.from_numpy(mask).gather(1, place),
        pictures=context.image_tokens,
        where=where,
        seen=torch.ones(B, dtype=torch.bool),
    )


def untold(count: int, views: int) -> Understood:
    """No words and no pictures, for a model that is shown everything as segments; one channel wide."""
    return Understood(
        words=torch.zeros(count, 0, 1),
        word_mask=torch.zeros(count, 0, dtype=torch.bool),
        pictures=torch.zeros(count, views, 1, 1),
        where=torch.zeros(count, views, 0, 1 + 3),
        seen=torch.zeros(count, dtype=torch.bool),
    )
