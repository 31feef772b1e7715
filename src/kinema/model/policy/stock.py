"""Transformers' own model beside our batched backbone: the same weights, in the same run.

Axes: B rows, V views.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5Model

from kinema.model.device import autocast
from kinema.model.policy import presets
from kinema.model.policy.backbone import Backbone
from kinema.model.policy.policy import Policy


def over_stock(batch_size: int, seconds: float) -> float:
    """How many times faster our forward and backward of nano is: same pictures, words and gradients."""
    config = replace(presets.nano(), conv_stem=False)
    policy = Policy(config)
    backbone = policy.backbone
    backbone.config.image_token_id = 500  # released ids lie outside this small vocabulary
    images = torch.randint(0, 256, (batch_size, 2, 3, 96, 96), dtype=torch.uint8)
    tokens = torch.randint(16, 400, (batch_size, 24))
    mask, views = torch.ones_like(tokens, dtype=torch.bool), torch.ones(batch_size, 2, dtype=torch.bool)
    tags = torch.tensor([[1, 2], [3, 4]]).expand(batch_size, -1, -1)

    def ours() -> None:
        with autocast(torch.device("cpu")):
            hidden = backbone(images, views, tokens, mask, tags).hidden
        hidden.float().square().mean().backward()

    plain = stock_of(backbone)

    def stock() -> None:
        with autocast(torch.device("cpu")):
            hidden = stock_forward(plain, images, tokens, tags)
        hidden.float().square().mean().backward()

    return _per_second(ours, seconds) / _per_second(stock, seconds)


def stock_of(backbone: Backbone) -> Qwen3_5Model:
    """Transformers' own model with the weights of a backbone without a stem."""
    stock = Qwen3_5Model(backbone.config).train(backbone.training)
    stock.load_state_dict(backbone.qwen.state_dict())
    return stock


def stock_forward(stock: Qwen3_5Model, images: Tensor, tokens: Tensor, tags: Tensor) -> Tensor:
    """Transformers' own forward over the sequence that `Backbone` makes, of rows with the same tags."""
    config, vision = stock.config, stock.config.vision_config
    patch, merge = vision.patch_size, vision.spatial_merge_size
    (B, V), size = images.shape[:2], images.shape[-1]
    side = size // patch
    pixels = (images.float() / 127.5 - 1).flatten(0, 1)[:, None].expand(B * V, 2, 3, size, size)
    cells = pixels.reshape(B * V, 1, 2, 3, side // merge, merge, patch, side // merge, merge, patch)
    patches = cells.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9).reshape(B * V * side**2, -1)
    image = torch.full(((side // merge) ** 2,), config.image_token_id)
    spans = torch.cat([torch.cat([start[None], image, end[None]]) for start, end in tags[0]])
    ids = torch.cat([tokens, spans.expand(B, -1)], 1)
    return stock(
        input_ids=ids,
        pixel_values=patches,
        image_grid_thw=torch.tensor([[1, side, side]] * (B * V)),
        mm_token_type_ids=(ids == config.image_token_id).int(),
        attention_mask=torch.ones_like(ids),
    ).last_hidden_state


def _per_second(work: Callable[[], None], seconds: float) -> float:
    work()
    work()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        work()
        count += 1
    return count / (time.perf_counter() - begin)
