"""Words stand at the same place, and say the same, whatever else is in the batch."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.card.load import load_card
from kinema.model.policy import artifact
from kinema.model.world.understanding import WORDS, join, understand
from kinema.schema import KinemaError

CAR = load_card("car")
SHORT, LONG = "stop", "turn left at the crossing"


@pytest.fixture(scope="module")
def policy() -> artifact.Artifact:
    return artifact.load(Path(str(files("kinema") / "artifacts" / "nano")), check=False)


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, 3, 96, 96, 3), np.uint8).repeat(count, 0)


def test_a_sentence_is_understood_alike_beside_a_longer_one(policy: artifact.Artifact) -> None:
    hand = load_card("hand")
    short, long = "push it", "pick up the yellow block and then slide it to the right and put it on the plate"
    alone = understand(policy, hand, pictures(1)[:, :2], [short])
    both = understand(policy, hand, pictures(2)[:, :2], [short, long])
    assert alone.words.shape[1] == WORDS < both.words.shape[1]
    first = both.rows(torch.tensor([0]))
    assert torch.equal(first.word_mask, alone.word_mask)
    for name in ("words", "pictures", "where"):
        ours, theirs = getattr(first, name), getattr(alone, name)
        if name == "words":
            ours, theirs = ours[:, alone.word_mask[0]], theirs[:, alone.word_mask[0]]
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-3)


def test_clips_of_different_length_are_joined_and_taken_apart_again(policy: artifact.Artifact) -> None:
    hand = load_card("hand")
    short = understand(policy, hand, pictures(1)[:, :2], ["push it"])
    long = understand(policy, hand, pictures(1)[:, :2], ["pick it up and put it " + "on the plate " * 8])
    joined = join([short, long])
    assert joined.words.shape[1] == long.words.shape[1] > WORDS
    again = joined.rows(torch.tensor([0]))
    assert torch.equal(again.words, short.words)
    assert torch.equal(again.word_mask, short.word_mask)


def test_a_drive_fits_and_a_novel_does_not(policy: artifact.Artifact) -> None:
    told = understand(policy, CAR, pictures(1)[:, :2], [LONG], cameras=("front", "left"))
    assert told.words.shape[1] > WORDS
    assert int(told.word_mask.sum()) > WORDS
    with pytest.raises(KinemaError, match="at most 64 fit"):
        understand(policy, CAR, pictures(1)[:, :2], [LONG + " and stop" * 5], cameras=("front", "left"))
