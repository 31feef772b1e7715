"""Augmentation keeps the labels true."""

import pytest
import torch

from kinema.card.load import load_card
from kinema.data.fake import fake_source
from kinema.data.mixture import Mixture
from kinema.data.source import measure_stats
from kinema.data.text import TextTokenizer
from kinema.space.codec import Codec
from kinema.train.augment import AugmentConfig, augment


@pytest.fixture
def batch():
    source = fake_source(load_card("panda"), image_size=64)
    codecs = {"panda": Codec(source.card, *measure_stats([source], 16))}
    tokenizer = TextTokenizer.train(source.tasks, 400)
    return Mixture([source], codecs, tokenizer, batch_size=8, horizon=16, seed=0).draw()


def test_points_move_with_the_picture(batch):
    config = AugmentConfig(shift_px=6, brightness=0, contrast=0, hue=0)
    moved = augment(batch, config, torch.Generator().manual_seed(0))
    assert (moved.inputs.images != batch.inputs.images).any()
    shifted = 0
    for b in range(8):
        for v in range(2):
            # the bright square is the only red above 200: its centre is the point
            rows, columns = torch.nonzero(moved.inputs.images[b, v, 0] > 200, as_tuple=True)
            centre = torch.stack([columns.float().mean() + 0.5, rows.float().mean() + 0.5]) / 64
            assert (centre - moved.points[b, v, 0]).abs().max() < 0.02
            shifted += int((moved.points[b, v, 0] != batch.points[b, v, 0]).any())
    assert shifted > 8


def test_no_augmentation_is_the_identity(batch):
    off = AugmentConfig(shift_px=0, brightness=0, contrast=0, hue=0)
    same = augment(batch, off, torch.Generator().manual_seed(0))
    assert torch.equal(same.inputs.images, batch.inputs.images)
    assert torch.equal(same.points, batch.points)


def test_points_shifted_out_of_the_picture_become_invisible(batch):
    batch.points[:] = 0.001
    config = AugmentConfig(shift_px=8, brightness=0, contrast=0, hue=0)
    moved = augment(batch, config, torch.Generator().manual_seed(0))
    outside = (moved.points < 0).any(-1)
    assert outside.any()
    assert not moved.point_visible[outside].any()


def test_negative_amounts_are_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        AugmentConfig(shift_px=-1)
