"""What a world model and its code get wrong on films that neither learnt from."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from kinema.model.device import AskedPrecision, autocast
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.latents import Latents, WorldBatch, batch_of, by_body
from kinema.model.world.model import WorldModel


@torch.inference_mode()
def psnr_db(code: ChangeCode, batches: Iterable[Tensor], *, first_known: bool = True) -> float:
    """Peak signal-to-noise ratio of later pictures after a round trip: the mean over clips.

    first_known: whether the decoder has the first picture, or only its code
    """
    found = []
    for batch in batches:
        back = code.decode(code.encode(batch), batch[:, :, 0] if first_known else None)
        error = (back[:, :, 1:].float() - batch[:, :, 1:].float()).square().flatten(1).mean(1)
        found.append(10 * torch.log10(255.0**2 / error.clamp_min(1e-6)))
    return float(torch.cat(found).mean())


def unexplained(model: WorldModel, held_out: Latents, precision: AskedPrecision = "auto") -> dict[str, float]:
    """By body, the share of what moves in held-out films (squared, all views, image to video) that one look
    does not foretell: 0 is the truth, 1 is as if nothing moved."""
    return {
        name: unexplained_of(
            model, batch_of(held_out, torch.from_numpy(own), "image_to_video", "all"), precision
        )
        for name, own in by_body(held_out.card).items()
    }


@torch.inference_mode()
def unexplained_of(model: WorldModel, batch: WorldBatch, precision: AskedPrecision = "auto") -> float:
    """The same of any scenes whose films are known."""
    noise = torch.randn(batch.wanted.shape, generator=torch.Generator().manual_seed(0))
    with autocast(noise.device, precision):
        made = model.sample(batch.scene, noise, steps=1)
    moving = (batch.wanted - batch.scene.still).square().sum()
    return float((made - batch.wanted).square().sum() / moving)
