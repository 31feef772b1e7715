"""A checkpoint in released format: read, equal to the stock model, and each way it can be wrong."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Qwen3_5ForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from kinema.card.load import load_card
from kinema.card.prompt import prompt
from kinema.data.text import TextTokenizer
from kinema.model.policy import presets, released
from kinema.model.policy.policy import Policy, PolicyConfig
from kinema.schema import KinemaError
from released_checkpoint import CHAT, make_released

TINY = presets.tiny()
CARD = load_card("aloha")  # three cameras
VIEWS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_released(tmp_path_factory.mktemp("released") / "tiny")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_hidden_states_are_the_stock_models_with_the_stock_processor(folder):
    """Two views, two prompts of unequal length, whose shorter one is padded."""
    backbone = released.read(folder)
    policy = Policy(backbone.policy(TINY), backbone.load()).eval()
    prompts = [prompt(CARD, text, 16) for text in ("lift it", "put the green ball into the bowl, slowly")]
    pictures = np.random.default_rng(0).integers(0, 256, (2, VIEWS, 64, 64, 3), np.uint8)

    words = backbone.tokenizer
    tokens, mask = map(torch.from_numpy, words.pad([words.encode(text) for text in prompts]))
    assert not mask.all()
    tags = torch.from_numpy(words.camera_tags(CARD)[:VIEWS]).expand(2, -1, -1)
    seen = torch.from_numpy(pictures).permute(0, 1, 4, 2, 3)
    with torch.inference_mode():
        ours = policy.backbone(seen, torch.ones(2, VIEWS, dtype=torch.bool), tokens, mask, tags)
        stock, real = _stock(folder, prompts, pictures)
    assert stock.abs().mean() > 0.1
    assert ours.hidden.shape == stock.shape
    assert (ours.hidden - stock)[real].abs().max() <= 1e-5


def _stock(folder, prompts, pictures):
    """Transformers' chat template, tokenizer, image processor and model: hidden states, and the real ones."""
    words = AutoTokenizer.from_pretrained(folder, padding_side="left")
    patches = Qwen2VLImageProcessorPil.from_pretrained(folder)(list(pictures.reshape(-1, 64, 64, 3)))
    count = int(np.prod(patches["image_grid_thw"][0])) // 4
    turns = [
        words.apply_chat_template(
            [{"role": "user", "content": [{"type": "text", "text": text}, *[{"type": "image"}] * VIEWS]}],
            tokenize=False, add_generation_prompt=True, enable_thinking=False,
        ).replace("<|image_pad|>", "<|image_pad|>" * count)
        for text in prompts
    ]  # fmt: skip
    given = words(turns, padding=True, return_tensors="pt")
    model = Qwen3_5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    hidden = model.model(
        **given, pixel_values=torch.tensor(np.array(patches["pixel_values"])),
        image_grid_thw=torch.tensor(np.array(patches["image_grid_thw"])),
        mm_token_type_ids=(given["input_ids"] == model.config.image_token_id).int(),
    ).last_hidden_state  # fmt: skip
    return hidden, given["attention_mask"].bool()


def test_what_an_artifact_keeps_of_it_reads_the_same(folder, tmp_path):
    backbone = released.read(folder)
    backbone.tokenizer.save(tmp_path / "tokenizer.json")
    words = TextTokenizer.load(tmp_path / "tokenizer.json")
    text = prompt(CARD, "lift it", 16)
    assert words.encode(text) == backbone.tokenizer.encode(text)
    assert (words.camera_tags(CARD) == backbone.tokenizer.camera_tags(CARD)).all()
    config = backbone.policy(TINY)
    assert PolicyConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_precision_is_the_one_asked_for(folder):
    backbone = released.read(folder)
    assert {p.dtype for p in backbone.load(torch.bfloat16).parameters()} == {torch.bfloat16}


def test_a_camera_begins_and_ends_as_a_picture_does(folder):
    backbone = released.read(folder)
    rows = backbone.load().language_model.embed_tokens.weight
    for start, end in backbone.tokenizer.camera_tags(CARD):
        assert torch.equal(rows[start], rows[backbone.tokenizer.token_id("<|vision_start|>")])
        assert torch.equal(rows[end], rows[backbone.tokenizer.token_id("<|vision_end|>")])


def test_the_image_rule_is_the_checkpoints(copy):
    _change(copy / "preprocessor_config.json", size={"shortest_edge": 65536, "longest_edge": 16777216})
    backbone = released.read(copy)
    assert backbone.policy(TINY).image_size == 256
    with pytest.raises(KinemaError, match=r"image_size 224: the image rule of .* makes 256 x 256 of it"):
        backbone.policy(TINY, image_size=224)
    _change(copy / "preprocessor_config.json", image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
    small = released.read(copy)
    policy = Policy(replace(small.policy(TINY), image_size=64), small.load())
    picture = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    rule = Qwen2VLImageProcessorPil.from_pretrained(copy, size={"shortest_edge": 4096, "longest_edge": 4096})
    patches = torch.tensor(np.array(rule([picture[0].permute(1, 2, 0).numpy()])["pixel_values"]))
    grid = torch.tensor([[1, 4, 4]])
    stock = Qwen3_5ForConditionalGeneration.from_pretrained(copy, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = stock.model.visual(patches, grid_thw=grid).pooler_output
        torch.testing.assert_close(policy.backbone.embed_images(picture)[0], expected, atol=1e-5, rtol=1e-5)


def test_a_model_without_a_chat_is_told_the_plain_prompt(copy):
    (copy / "chat_template.jinja").unlink()
    backbone = released.read(copy)
    assert backbone.closing == ()
    assert backbone.tokenizer.decode(backbone.tokenizer.encode("lift it")) == "lift it"


def _change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _other_architecture(folder):
    _change(folder / "config.json", model_type="qwen3")


def _no_architecture(folder):
    (folder / "config.json").unlink()


def _words_without_pictures(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        path.write_text(path.read_text().replace("<|vision_start|>", "<|other|>"))


def _chat_without_pictures(folder):
    (folder / "chat_template.jinja").write_text(CHAT.replace("<|image_pad|>", "<|video_pad|>"))


def _full_vocabulary(folder):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["vocab_size"] -= 60
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_other_architecture, "is a qwen3 checkpoint; a backbone is one of Qwen3.5"),
        (_no_architecture, "cannot read a Qwen3.5 checkpoint from .*"),
        (_words_without_pictures, r"the vocabulary of .* has no <\|vision_start\|>"),
        (_full_vocabulary, "has no room for the camera tags"),
        (_chat_without_pictures, "does not put a picture after a sentence"),
    ],
)
def test_what_is_no_qwen_checkpoint_is_refused_in_one_line(copy, spoil, said):
    spoil(copy)
    with pytest.raises(KinemaError, match=said) as caught:
        released.read(copy)
    assert "\n" not in str(caught.value)


def _shard_missing(folder):
    sorted(folder.glob("*.safetensors"))[1].unlink()


def _shard_damaged(folder):
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])


def _weight_missing(folder):
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    del index["weight_map"]["model.language_model.norm.weight"]
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for shard in folder.glob("*.safetensors"):
        tensors = load_file(shard)
        if tensors.pop("model.language_model.norm.weight", None) is not None:
            save_file(tensors, shard, metadata={"format": "pt"})


def _weight_of_another_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] += 32
    (folder / "config.json").write_text(json.dumps(config))


def _pickled(folder):
    tensors = {}
    for shard in folder.glob("*.safetensors"):
        tensors |= load_file(shard)
        shard.unlink()
    (folder / "model.safetensors.index.json").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_shard_missing, "model-00002-of-"),
        (_shard_damaged, "cannot read a Qwen3.5 checkpoint from"),
        (_weight_missing, "1 weights are missing .* language_model.norm.weight"),
        (_weight_of_another_shape, "12 weights are missing or of another shape"),
        (_pickled, r"keeps its weights as a pickle \(pytorch_model.bin\)"),
    ],
)
def test_weights_that_are_not_whole_are_refused_in_one_line(copy, spoil, said):
    spoil(copy)
    with pytest.raises(KinemaError, match=said) as caught:
        released.read(copy).load()
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(KinemaError, match="nowhere"):
        released.read(tmp_path / "nowhere")
