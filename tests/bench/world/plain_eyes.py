"""Eyes without a network: answers that are a fixed function of the pixels, enough to test the machinery."""

from __future__ import annotations

from typing import Any

import numpy as np

from kinema.worlds.tabletop.film_labels import THINGS


class PlainEyes:
    things = THINGS
    version = "plain"
    error: dict[str, Any] = {}  # noqa: RUF012

    def locate(self, pictures: np.ndarray) -> np.ndarray:
        """Every thing is in the middle of what is dark, which follows the arm."""
        weight = (pictures.mean(-1) < 90) + 1e-6  # (n, S, S)
        weight /= weight.sum((1, 2), keepdims=True)
        ticks = (np.arange(pictures.shape[1]) + 0.5) / pictures.shape[1]
        u, v = (weight.sum(1) * ticks).sum(1), (weight.sum(2) * ticks).sum(1)
        point = np.stack([u, v, np.ones_like(u)], -1)
        return np.repeat(point[:, None], len(THINGS), 1).astype(np.float32)

    def features(self, pictures: np.ndarray) -> list[np.ndarray]:
        maps = pictures.astype(np.float32) / 255 + 0.1
        pooled = [maps]
        for _ in range(3):
            n, h, w, c = pooled[-1].shape
            pooled.append(pooled[-1].reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4)))
        return pooled


def plain_eyes() -> PlainEyes:
    return PlainEyes()


PLAIN = {"target": "plain_eyes:plain_eyes", "arguments": {}}
