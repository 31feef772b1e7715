"""Latency and memory of a size, before there are weights of it: random ones, brought as an artifact's are."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kinema.data.batch import Inputs
from kinema.model.policy import compiled, made_up, memory
from kinema.model.policy.loading import Loading
from kinema.model.policy.policy import Policy, PolicyConfig

_SPREAD = 0.02  # of random weights: small enough that depth makes no number infinite


@dataclass(frozen=True, kw_only=True)
class Bytes:
    """What was planned, and what was taken beside what the process held before."""

    planned: int
    taken: int


@dataclass(frozen=True, kw_only=True)
class Seconds:
    median: float
    p95: float


@dataclass(frozen=True, kw_only=True)
class SizeSpeed:
    """reading: pictures and words, which is done once; answer: reading and all Euler steps.

    held: the weights; loading, answering: the most there was at once meanwhile, the weights among it.
    """

    parameters: int
    tokens: int  # of pictures and words
    steps: int  # Euler steps
    held: Bytes
    loading: Bytes
    answering: Bytes
    load_s: float
    reading: Seconds
    answer: Seconds


def measure_size(
    name: str, config: PolicyConfig, loading: Loading, *, rounds: int, views: int = 3, words: int = 64
) -> SizeSpeed:
    """Of one row. Raises KinemaError, with nothing allocated, for what does not fit."""
    device = torch.device(loading.device)
    inputs = made_up.inputs(config, views, words)
    policy = Policy.without_weights(config)
    weights, largest = memory.weight_bytes(policy, loading), memory.largest_bytes(policy, loading)
    extra = memory.answer_bytes(config, loading, inputs)
    memory.check_fits(name, policy, loading, extra)
    before = memory.held_bytes(device)
    memory.forget_most(device)
    begin = time.perf_counter()
    give_random_weights(policy, loading)
    load_s = time.perf_counter() - begin
    load_most, held = memory.held_bytes(device, most=True), memory.held_bytes(device)
    inputs = inputs.to(device)
    noise = torch.zeros(1, 1, config.decoder.horizon, inputs.state.shape[1], device=device)

    if loading.compile:
        compiled.compile_blocks(policy)
    with compiled.warming_up():
        policy.sample(inputs, noise)  # the first answer also makes tables
    memory.forget_most(device)
    with compiled.settled() if loading.compile else nullcontext():
        reading = _timed(lambda: _read(policy, inputs), rounds)
        answer = _timed(lambda: policy.sample(inputs, noise), rounds)
    return SizeSpeed(
        parameters=sum(weight.numel() for weight in policy.state_dict().values()),
        tokens=words + views * (policy.backbone.grid**2 + 2),
        steps=config.sample_steps,
        held=Bytes(planned=weights, taken=held - before),
        loading=Bytes(planned=weights + largest, taken=load_most - before),
        answering=Bytes(planned=weights + extra, taken=memory.held_bytes(device, most=True) - before),
        load_s=load_s,
        reading=reading,
        answer=answer,
    )


def give_random_weights(policy: Policy, loading: Loading) -> None:
    """To a network without weights, each brought to where and how it will be held before the next is made."""
    generator = torch.Generator(loading.device).manual_seed(0)

    def made(name: str, weight: Tensor) -> Tensor:
        stored = torch.empty(weight.shape, dtype=torch.bfloat16, device=loading.device)
        return loading.bring(name, stored.normal_(std=_SPREAD, generator=generator))

    weights = {name: made(name, weight) for name, weight in policy.state_dict().items()}
    policy.load_state_dict(weights, assign=True)
    policy.to(loading.device).eval()


@torch.inference_mode()
def _read(policy: Policy, inputs: Inputs) -> Tensor:
    return policy.prefill(inputs).context


def _timed(work: Callable[[], Tensor], rounds: int) -> Seconds:
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()[0, 0].sum().item()  # waits for the device
        seconds.append(time.perf_counter() - begin)
    return Seconds(median=float(np.median(seconds)), p95=float(np.quantile(seconds, 0.95)))
