"""Augmentation keeps the labels true."""

import pytest
import torch

from kinema.card.load import load_card
from kinema.data.fake import fake_source
from kinema.data.mixture import Mixture
from kinema.data.source import measure_stats
from kinema.data.stream import Feed
from kinema.data.text import TextTokenizer
from kinema.space.codec import Codec
from kinema.train.augment import AugmentConfig, augment


@pytest.fixture
def batch():
    source = fake_source(load_card("panda"), image_size=64)
    codecs = {"panda": Codec(source.card, *measure_stats([source], 16))}
    tokenizer = TextTokenizer.train(source.tasks, 400)
    return Mixture([source], codecs, tokenizer, Feed(batch_size=8, seed=0), horizon=16).draw()


def test_points_move_with_the_picture(batch):
    config = AugmentConfig(shift_px=6, brightness=0, contrast=0, saturation=0, tint=0)
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


def test_larger_pictures_move_as_far_for_their_size():
    config = AugmentConfig(shift_px=4)
    assert config.of_pictures(1) == config
    assert config.of_pictures(2) == AugmentConfig(shift_px=8)


def test_no_augmentation_is_the_identity(batch):
    off = AugmentConfig(shift_px=0, brightness=0, contrast=0, saturation=0, tint=0)
    same = augment(batch, off, torch.Generator().manual_seed(0))
    assert torch.equal(same.inputs.images, batch.inputs.images)
    assert torch.equal(same.points, batch.points)


def test_points_shifted_out_of_the_picture_become_invisible(batch):
    batch.points[:] = 0.001
    config = AugmentConfig(shift_px=8, brightness=0, contrast=0, saturation=0, tint=0)
    moved = augment(batch, config, torch.Generator().manual_seed(0))
    outside = (moved.points < 0).any(-1)
    assert outside.any()
    assert not moved.point_visible[outside].any()


def test_colours_change_by_one_affine_map_per_picture_and_greys_stay_grey_without_tint(batch):
    images = batch.inputs.images
    images[:, :, :, :32] = torch.randint(60, 190, (8, 2, 1, 32, 64), dtype=torch.uint8)  # grey above
    images[:, :, :, 32:] = torch.randint(60, 190, (8, 2, 3, 32, 64), dtype=torch.uint8)  # coloured below
    config = AugmentConfig(shift_px=0, brightness=0.1, contrast=0.1, saturation=0.3, tint=0)
    moved = augment(batch, config, torch.Generator().manual_seed(0)).inputs.images.float()
    grey = moved[:, :, :, :32]
    assert (grey.amax(2) - grey.amin(2)).max() <= 1
    for b in range(8):
        before = torch.cat([images[b, 0].flatten(1).float(), torch.ones(1, 64 * 64)])
        solved = torch.linalg.lstsq(before.T, moved[b, 0].flatten(1).T)
        assert (before.T @ solved.solution - moved[b, 0].flatten(1).T).abs().max() < 1.0  # rounding only
    spread = moved[:, :, :, 32:].std(2).mean((-1, -2)) / images[:, :, :, 32:].float().std(2).mean((-1, -2))
    assert spread.min() < 0.95
    assert spread.max() > 1.05


def test_negative_amounts_are_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        AugmentConfig(shift_px=-1)
