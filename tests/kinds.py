"""Cards of one kind differ in their numbers only; `make test` holds a long law against one of each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card


def one_of_each(names: Iterable[str]) -> list[Any]:
    """Parameters of a test: cards by name, all but the first of each kind marked slow."""
    found: dict[str, Any] = {}
    seen = set()
    for name in names:
        kind = _kind(load_card(name))
        found[name] = pytest.param(name, marks=[pytest.mark.slow] if kind in seen else [])
        seen.add(kind)
    return list(found.values())


def _kind(card: EmbodimentCard) -> Any:
    arms = tuple(
        tuple((joint.type, np.ptp(joint.range) > 2 * np.pi) for joint in arm.joints) for arm in card.arms
    )
    return card.control, card.hold.action, arms, card.torso is not None
