import numpy as np
import pytest

from kinema.bench.disturbance import Disturbance, Noise


def test_noise_comes_in_stretches_of_the_drawn_size() -> None:
    noise = Disturbance(Noise(), np.random.default_rng(3))
    values = np.stack([noise.next() for _ in range(3000)])
    quiet = (values == 0).all(axis=1).mean()
    assert 0.4 < quiet < 0.75
    assert values[values.any(axis=1)].std() == pytest.approx(noise.sigma, rel=0.35)


def test_without_noise_nothing_is_disturbed() -> None:
    noise = Disturbance(Noise(sigma=(0.0, 0.0)), np.random.default_rng(3))
    assert not np.stack([noise.next() for _ in range(100)]).any()
