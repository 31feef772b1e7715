"""Questions about pictures, answered by an artifact in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema.data.sample import end_of_answer, replies, talk
from kinema.model.policy.artifact import Artifact
from kinema.schema import KinemaError

MOST_TOKENS = 64


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question about pictures, uint8 (H, W, 3) each."""

    question: str
    images: Sequence[np.ndarray]


class Asker:
    """Answers with an artifact's own words. Raises KinemaError for one that has learnt none."""

    def __init__(self, artifact: Artifact, most_tokens: int = MOST_TOKENS) -> None:
        """most_tokens: of an answer, which is cut there"""
        if artifact.policy.config.head is None:
            raise KinemaError(
                f"{artifact.folder.name} was not trained to answer in words; it acts. Train one that does: "
                "kinema train nano_cpt"
            )
        self._artifact, self._most = artifact, most_tokens

    def answers(self, asked: Sequence[Asked]) -> list[str]:
        """One answer for each, found together. Raises KinemaError for an empty or too long question."""
        policy, tokenizer = self._artifact.policy, self._artifact.tokenizer
        closing = policy.config.closing
        talks = []
        for one in asked:
            if not one.question.strip():
                raise KinemaError("the question is empty")
            turns = [(one.question.strip(), None)]
            size = policy.config.image_size
            talks.append(talk(one.images, turns, tokenizer, image_size=size, closing=closing))
        device = next(policy.parameters()).device
        batch = replies(talks, tokenizer).to(device)
        said = policy.answer(batch, end=end_of_answer(tokenizer, closing), most=self._most)
        return [_on_one_line(tokenizer.decode(ids)) for ids in said]


def _on_one_line(text: str) -> str:
    """Without line breaks and what else a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
