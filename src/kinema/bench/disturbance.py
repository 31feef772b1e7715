"""What disturbs an expert that displaces a tool, so that data hold states off its path, and the way back.

Labels stay clean (Laskey et al. 2017, DART, arXiv 1703.09327).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Gaussian noise on the three position actions, correlated over a few steps, in stretches.

    Every episode draws its own sigma, so that some are nearly clean; between noisy stretches of `noisy_steps`
    the expert acts undisturbed for `clean_steps`, which lets it recover and shows how.
    """

    sigma: tuple[float, float] = (0.0, 0.25)  # of the executed action, whose range is [-1, 1]
    correlation: float = 0.8
    noisy_steps: tuple[int, int] = (8, 20)
    clean_steps: tuple[int, int] = (10, 25)


class Disturbance:
    """The noise of one episode: call `next` once per step for a (3,) addend, zero in clean stretches."""

    def __init__(self, noise: Noise, rng: np.random.Generator) -> None:
        self.noise = noise
        self.rng = rng
        self.sigma = float(rng.uniform(*noise.sigma))
        self._noisy = bool(rng.random() < 0.5)
        self._left = 0
        self._value = np.zeros(3)

    def next(self) -> np.ndarray:
        if self._left == 0:
            self._noisy = not self._noisy
            stretch = self.noise.noisy_steps if self._noisy else self.noise.clean_steps
            self._left = int(self.rng.integers(stretch[0], stretch[1] + 1))
            self._value = np.zeros(3)
        self._left -= 1
        if not self._noisy:
            return np.zeros(3)
        keep = self.noise.correlation
        fresh = self.rng.normal(size=3) * self.sigma * np.sqrt(1 - keep**2)
        self._value = keep * self._value + fresh
        return self._value

    def displace(self, clean: np.ndarray) -> np.ndarray:
        """An action with the next addend on its first three numbers, which displace the tool."""
        sent = clean.copy()
        sent[:3] += self.next()
        return sent
