"""What was imagined stands under what happened, at the right time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kinema.card.load import load_card
from kinema.commands.imagine.beside import imagined_along, stacked
from kinema.schema import Film, KinemaError

CARD = load_card("panda")


class Counting:
    """Imagines pictures whose value is the first picture's plus the number of the frame."""

    def __init__(self, frames: int = 5) -> None:
        self.frames, self.asked = frames, 0

    def imagine(
        self, images: Mapping[str, np.ndarray], instruction: str, card: str, *, seed: int = 0
    ) -> Film:
        self.asked += 1
        first = np.stack([image[:2, :2] for image in images.values()])
        frames = first[None] + np.arange(self.frames, dtype=np.uint8)[:, None, None, None, None]
        return Film(frames=frames, cameras=tuple(images), fps=10 / 3, card=card, instruction=instruction)


class Ignorant:
    def imagine(self, *_: object, **__: object) -> Film:
        raise KinemaError("unknown body")


def happened(steps: int) -> dict[str, np.ndarray]:
    values = np.arange(steps, dtype=np.uint8)[:, None, None, None]
    return {name: np.broadcast_to(values, (steps, 8, 8, 3)) for name in ("front", "wrist")}


def test_each_step_is_told_what_was_imagined_for_it() -> None:
    counting = Counting()
    along = imagined_along(counting, happened(20), "go", CARD, seed=0)
    assert along is not None
    assert along.shape == (20, 2, 2, 2, 3)
    # five pictures last twelve steps; then it is imagined anew from step 12
    expected = [t // 3 for t in range(12)] + [12 + t // 3 for t in range(8)]
    np.testing.assert_array_equal(along[:, 0, 0, 0, 0], expected)
    assert counting.asked == 2


def test_a_body_that_the_model_does_not_know_leaves_the_film_alone() -> None:
    assert imagined_along(Ignorant(), happened(4), "go", CARD, seed=0) is None


def test_pictures_are_enlarged_below_and_views_stay_side_by_side() -> None:
    frames = happened(3)
    above = np.concatenate(list(frames.values()), axis=2)
    imagined = np.zeros((3, 2, 2, 2, 3), np.uint8)
    imagined[:, 1] = 200
    film = stacked(above, imagined)
    assert film.shape == (3, 8 + 4 + 8, 16, 3)
    np.testing.assert_array_equal(film[:, :8], above)
    assert (film[:, 12:, :8] == 0).all()
    assert (film[:, 12:, 8:] == 200).all()
