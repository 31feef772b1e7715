"""The named sizes of the world model's parts, as the stock classes' own keys.

`nano` is trained here. `full` is the published shape (60 blocks of 24 heads x 128 over the hidden states of a
7 B multimodal model, 20.43 B parameters, which are diffusers' defaults): it is built on the meta device for
counting and loads weights in diffusers' format by path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from kinema.model.world.connector import Conditioning, Connector
from kinema.model.world.model import WorldConfig, WorldModel

CODE_TINY: dict = dict(per_picture=8, details=8, widths=[8, 8, 16, 16])
CODE_NANO: dict = dict(per_picture=32, details=96, widths=[24, 40, 80, 128])
_PROPORTION = (16, 56, 56)  # of a head's channels for time, height and width


def nano() -> WorldConfig:
    """About 9 M parameters over the nano policy's backbone (192 wide, cells of 16 px)."""
    return _small(z_dim=224, layers=6, heads=3, head_dim=64, width=192, guide=32, grid=6)


def tiny() -> WorldConfig:
    """For tests: two small blocks, over the nano policy's backbone too."""
    return _small(z_dim=40, layers=2, heads=2, head_dim=32, width=192, guide=8, grid=6)


def nano_scene2robot() -> WorldConfig:
    """The nano size for a model that is shown a scene and a robot and told nothing."""
    return _segments(z_dim=224, layers=6, heads=3, head_dim=64)


def tiny_scene2robot() -> WorldConfig:
    """For tests."""
    return _segments(z_dim=40, layers=2, heads=2, head_dim=32)


def full() -> WorldConfig:
    """The published shape: the stock transformer, velocity, no guide."""
    return WorldConfig(
        transformer=dict(axes_dims_rope=_PROPORTION),
        patch=2,
        connector=dict(width=3584, joint=3584, guide=0, points=0),
        still=False,
        shift=(1.65, 2.46),  # exp(0.5) and exp(0.9), the published image model's
        sample_steps=50,
        guidance=4.0,
    )


def _small(
    *, z_dim: int, layers: int, heads: int, head_dim: int, width: int, guide: int, grid: int
) -> WorldConfig:
    unit = head_dim // 16
    return WorldConfig(
        transformer=dict(
            patch_size=1,
            in_channels=2 * z_dim + guide,
            out_channels=z_dim,
            num_layers=layers,
            attention_head_dim=head_dim,
            num_attention_heads=heads,
            joint_attention_dim=heads * head_dim,
            axes_dims_rope=(2 * unit, 7 * unit, 7 * unit),
        ),
        connector=dict(width=width, joint=heads * head_dim, guide=guide, grid=grid, pictures_in_stream=False),
    )


def _segments(*, z_dim: int, layers: int, heads: int, head_dim: int) -> WorldConfig:
    """One word that says nothing is the whole text stream: see `understanding.untold`."""
    small = _small(z_dim=z_dim, layers=layers, heads=heads, head_dim=head_dim, width=1, guide=0, grid=1)
    return told(replace(small, connector={**small.connector, "points": 0}), "none")


def told(config: WorldConfig, conditioning: Conditioning) -> WorldConfig:
    """The same network, told all, the words alone, or nothing: the baselines."""
    return replace(config, connector={**config.connector, "conditioning": conditioning})


def load_full(folder: Path, dtype: torch.dtype = torch.bfloat16) -> WorldModel:
    """The published shape with the weights of a diffusers folder's `transformer`; a fresh connector."""
    from diffusers import QwenImageTransformer2DModel

    config = full()
    transformer = QwenImageTransformer2DModel.from_pretrained(
        folder, subfolder="transformer", dtype=dtype, zero_cond_t=True
    )
    connector = Connector(**{**config.connector, "joint": transformer.config.joint_attention_dim})
    return WorldModel(config, transformer, connector.to(dtype))


PRESETS: dict[str, Callable[[], WorldConfig]] = {"tiny": tiny, "nano": nano, "full": full}
