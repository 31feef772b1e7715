"""Speed and memory of training, beside the stock forward of the same classes in the same run."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5Model

from kinema.card.load import load_card
from kinema.data.fake import fake_source
from kinema.model.policy import presets
from kinema.model.policy.backbone import Backbone
from kinema.model.policy.policy import Policy
from kinema.train.device import autocast
from kinema.train.loop import LoopConfig
from kinema.train.parallel import Group, in_processes
from kinema.train.recipe import Options, Recipe
from kinema.train.run import Run
from kinema.train.stages.policy import PolicyStage

_WARM_UP = 4
_PROCESSES = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


@dataclass(frozen=True, kw_only=True)
class TrainingSpeed:
    """Whole steps of the real loop (draw, augment, forward, backward, optimiser) of nano, two 96 px views.

    over_stock: how many times faster our backbone's forward and backward is than transformers' own.
    """

    samples_per_s: float
    of_limit: float  # of 200 samples/s
    peak_gb: float  # of one process, plus that of the others
    over_stock: float
    processes: int
    threads: int
    batch_size: int

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def measure_training(
    *, processes: int = 2, threads: int = 1, batch_size: int = 128, steps: int = 40
) -> TrainingSpeed:
    """Measure on made-up demonstrations of the Panda, after a few steps to warm up."""
    source = fake_source(load_card("panda"), image_size=96)
    recipe = Recipe(
        name="bench", summary="", data_command="", batch_size=batch_size,
        stage=partial(PolicyStage, policy=presets.nano, sources=lambda data, pictures: [source]),
        loop=LoopConfig(steps=_WARM_UP + steps),
    )  # fmt: skip

    def train(group: Group, whole: Run) -> float:
        loop = whole.begin(group)
        loop.run(until=_WARM_UP)
        begin = time.perf_counter()
        loop.run()
        return steps * batch_size / (time.perf_counter() - begin)

    with TemporaryDirectory() as folder:
        whole = Run(recipe, Path(), Path(folder), Options(processes=processes, threads=threads))
        rate = in_processes(processes, threads, lambda group: train(group, whole))
        peaks_gb = [resource.getrusage(who).ru_maxrss / 2**20 for who in _PROCESSES]
    return TrainingSpeed(
        samples_per_s=rate,
        of_limit=rate / 200,
        peak_gb=peaks_gb[0] + (processes - 1) * peaks_gb[1],
        over_stock=_over_stock(batch_size // processes, 10.0),
        processes=processes,
        threads=threads,
        batch_size=batch_size,
    )


def _over_stock(batch_size: int, seconds: float) -> float:
    """Our batched backbone against transformers' forward: same weights, pictures, words and gradients."""
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
