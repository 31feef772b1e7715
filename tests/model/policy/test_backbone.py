"""The batched backbone gives transformers' own numbers, in every configuration it claims."""

import pytest
import torch
from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5Config
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5Model

from kinema.model.policy.backbone import Backbone
from kinema.model.policy.stock import stock_forward, stock_of

SIZE, PATCH, MERGE, TEXT, VIEWS = 64, 8, 2, 7, 2
START, END, IMAGE = 3, 4, 5


def _config(layer_types, grid_side):
    text = dict(
        vocab_size=64,
        hidden_size=96,
        intermediate_size=128,
        num_hidden_layers=len(layer_types),
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        layer_types=layer_types,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=32,
        linear_value_head_dim=32,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 1000.0,
            "partial_rotary_factor": 0.5,
            "mrope_section": [4, 2, 2],
            "mrope_interleaved": True,
        },
    )
    vision = dict(
        depth=2,
        hidden_size=64,
        intermediate_size=96,
        num_heads=2,
        patch_size=PATCH,
        spatial_merge_size=MERGE,
        out_hidden_size=96,
        num_position_embeddings=grid_side**2,
        hidden_act="gelu",
    )
    return Qwen3_5Config(
        text_config=text, vision_config=vision, image_token_id=IMAGE, vision_start_token_id=START
    )


@pytest.mark.parametrize(
    ("layer_types", "grid_side"),
    [
        (["full_attention"] * 2, 8),
        (["full_attention"] * 2, 12),  # the learnt position grid is resampled
        (["linear_attention", "full_attention"], 8),
    ],
)
def test_batched_forward_equals_the_stock_one(layer_types, grid_side):
    torch.manual_seed(0)
    backbone = Backbone(Qwen3_5Model(_config(layer_types, grid_side)), SIZE, conv_stem=False).eval()
    images = torch.randint(0, 256, (2, VIEWS, 3, SIZE, SIZE), dtype=torch.uint8)
    tokens = torch.randint(6, 64, (2, TEXT))
    ones = torch.ones(2, VIEWS, dtype=torch.bool)
    tags = torch.tensor([[START, END]] * VIEWS).expand(2, -1, -1)
    with torch.inference_mode():
        ours = backbone(images, ones, tokens, torch.ones_like(tokens, dtype=torch.bool), tags)
        stock = stock_forward(stock_of(backbone), images, tokens, tags)
    assert stock.abs().mean() > 0.1
    torch.testing.assert_close(ours.hidden, stock, atol=1e-4, rtol=1e-4)


def test_left_padding_changes_nothing_that_is_real():
    torch.manual_seed(0)
    backbone = Backbone(Qwen3_5Model(_config(["full_attention"] * 2, 8)), SIZE, conv_stem=False).eval()
    images = torch.randint(0, 256, (1, 1, 3, SIZE, SIZE), dtype=torch.uint8)
    tokens, mask = torch.randint(6, 64, (1, TEXT)), torch.ones(1, TEXT, dtype=torch.bool)
    padded = torch.cat([torch.zeros(1, 5, dtype=torch.long), tokens], 1)
    padded_mask = torch.cat([torch.zeros(1, 5, dtype=torch.bool), mask], 1)
    view, tags = torch.ones(1, 1, dtype=torch.bool), torch.tensor([[[START, END]]])
    with torch.inference_mode():
        plain = backbone(images, view, tokens, mask, tags).hidden
        left = backbone(images, view, padded, padded_mask, tags).hidden[:, 5:]
    torch.testing.assert_close(left, plain, atol=1e-5, rtol=1e-4)


def test_a_masked_view_does_not_reach_the_words_or_other_views():
    torch.manual_seed(0)
    backbone = Backbone(Qwen3_5Model(_config(["full_attention"] * 2, 8)), SIZE, conv_stem=False).eval()
    images = torch.randint(0, 256, (1, 2, 3, SIZE, SIZE), dtype=torch.uint8)
    other = images.clone()
    other[:, 0] = 255 - other[:, 0]
    tokens, mask = torch.randint(6, 64, (1, TEXT)), torch.ones(1, TEXT, dtype=torch.bool)
    view, tags = torch.tensor([[False, True]]), torch.tensor([[[START, END]] * 2])
    with torch.inference_mode():
        a = backbone(images, view, tokens, mask, tags).image_tokens[:, 1]
        b = backbone(other, view, tokens, mask, tags).image_tokens[:, 1]
        seen = backbone(other, torch.ones(1, 2, dtype=torch.bool), tokens, mask, tags).image_tokens[:, 1]
    torch.testing.assert_close(a, b)
    assert (a - seen).abs().max() > 1e-3


def test_wrong_image_sizes_are_refused():
    with pytest.raises(ValueError, match="multiple of patch x merge"):
        Backbone(Qwen3_5Model(_config(["full_attention"], 8)), 100, conv_stem=False)
    with pytest.raises(ValueError, match="patches of 16"):
        Backbone(Qwen3_5Model(_config(["full_attention"], 8)), SIZE, conv_stem=True)


def test_what_looked_first_in_inference_mode_can_be_trained_afterwards():
    backbone = Backbone(Qwen3_5Model(_config(["full_attention"], 8)), SIZE, conv_stem=False)
    images = torch.zeros(1, 1, 3, SIZE, SIZE, dtype=torch.uint8)
    tokens, tags = torch.full((1, TEXT), 7), torch.tensor([[[START, END]]])
    seen = (images, torch.ones(1, 1, dtype=torch.bool), tokens, tokens > 0, tags)
    with torch.inference_mode():
        before = backbone(*seen).hidden
    after = backbone(*seen).hidden
    after.sum().backward()
    assert torch.equal(after, before)
    assert backbone.qwen.visual.pos_embed.weight.grad is not None
