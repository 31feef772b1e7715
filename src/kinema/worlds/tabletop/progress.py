"""What an episode has shown so far that its present state does not tell: how long the goal has held without
a break, which blocks a gripper has carried, and how high each has been.

A goal that looks only at the present is reached by chance, or by other means than its sentence names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from kinema.worlds.tabletop.props import Block
from kinema.worlds.tabletop.scene import Scene

CARRIED_M = 0.02  # over the table, on nothing but a gripper: then a block has been picked up
_ROUNDING_S = 1e-9


@dataclass
class Progress:
    """Changes with every control step. Blocks are named as in the model."""

    held_s: float = 0.0  # how long the goal has held without a break
    carried: set[str] = field(default_factory=set)
    highest_m: dict[str, float] = field(default_factory=dict)  # of a block's lowest point over the table

    fastest_m_s: float = 0.0  # of a drawer
    guided_m: float = 0.0  # how far a drawer moved in a gripper's hold

    def copy(self) -> Progress:
        return replace(self, carried=set(self.carried), highest_m=dict(self.highest_m))

    def note(self, scene: Scene, blocks: Iterable[Block]) -> None:
        """Look at the blocks after a control step."""
        for block in blocks:
            height = block.clearance_m(scene.data)
            self.highest_m[block.name] = max(height, self.highest_m.get(block.name, 0.0))
            in_the_air = height > CARRIED_M and not scene.supported(block.body)
            if in_the_air and scene.touched(block.body):
                self.carried.add(block.name)

    def count(self, holds: bool, period_s: float) -> None:
        """The goal held, or not, at the end of a control step."""
        self.held_s = self.held_s + period_s if holds else 0.0

    def held_for(self, seconds: float) -> bool:
        return self.held_s >= seconds - _ROUNDING_S

    def rise_m(self, block: Block) -> float:
        """The highest that a block's lowest point has been over the table [m]."""
        return float(self.highest_m.get(block.name, 0.0))
