"""A policy's blocks compiled, each by itself, before anybody waits for an answer.

Blocks of a kind share their program, in which sizes are symbols; only a size of one has a program of its own.
So whoever answers first asks everything once, one and several of each, and then says that it is settled:
a shape that is new all the same is computed uncompiled, because a compiler takes longer than any deadline.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.fx.experimental import _config as symbols

from kinema.model.policy.policy import Policy

SEVERAL = (1, 3)  # whatever is asked for: one, and several
_PROGRAMS = 64  # of one piece of code; torch's own limit is 8


def compile_blocks(policy: Policy) -> None:
    """In place; what is compiled is made when it is first called, in `warming_up`."""
    for block in policy.blocks:
        block.compile(dynamic=True)


@contextmanager
def warming_up() -> Iterator[None]:
    """In here a new shape is compiled, and sizes that happen to be equal are not taken to be one."""
    with torch._dynamo.config.patch(recompile_limit=_PROGRAMS), symbols.patch(use_duck_shape=False):
        yield


@contextmanager
def settled() -> Iterator[None]:
    """In here nothing is compiled any more."""
    with torch.compiler.set_stance("eager_on_recompile"):
        yield
