"""What the latent dynamics is taught: events, heights, courses and progress, as the simulator had them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kinema.model.gate.latent_dynamics import HEIGHT_SCALE_M, PRESENT_M, LatentDynamics
from kinema.model.gate.samples import DynamicsBatch


def losses(model: LatentDynamics, batch: DynamicsBatch, told: Tensor, use: Tensor) -> dict[str, Tensor]:
    """Of B states, by name. told: bool (B,), which are told the true heights; use: (M, B), adding up to 1,
    what each member learns from."""
    seen, foreseen = model(batch.scenes, batch.path, (batch.heights, told))

    def over_members(loss: Tensor) -> Tensor:
        """loss (M, B, ...), averaged over what each member learns from."""
        return (loss.flatten(2).mean(2) * use).sum()

    M = len(use)
    wanted = batch.events.expand(M, *batch.events.shape)
    event = functional.binary_cross_entropy_with_logits(foreseen.events, wanted, reduction="none")
    arms = batch.scenes.arm_mask[None, :, None, None, :, None]
    tool = (10 * (foreseen.tool_m - batch.tool_m)).abs() * arms
    thing = 10 * (foreseen.thing_m - batch.shift_m).abs()
    progress = functional.smooth_l1_loss(
        10 * foreseen.progress, 10 * batch.progress.expand(M, -1, -1), reduction="none"
    )
    layers, true = seen.layers, batch.heights
    if batch.more is not None:
        layers = torch.cat([layers, model.see(batch.more[0]).layers])
        true = torch.cat([true, batch.more[1]])
    there = (true > PRESENT_M).float()
    logits, heights = layers.split(2, 1)
    wrong = (heights - true / HEIGHT_SCALE_M).abs() * there
    return {
        "events": over_members(event),
        "there": functional.binary_cross_entropy_with_logits(
            logits, there, pos_weight=torch.tensor(3.0, device=logits.device)
        ),
        "heights": wrong.sum() / there.sum().clamp_min(1.0),
        "points": over_members(tool.mean((-1, -2))) + over_members(thing.mean(-1)),
        "progress": over_members(progress),
    }
