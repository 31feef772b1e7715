"""How films are cut for the world model: what data, worlds, model and training must agree on."""

from __future__ import annotations

from dataclasses import dataclass

BACKGROUND = 128  # the grey behind a robot that stands alone: neither white nor black arms vanish in it


@dataclass(frozen=True, kw_only=True)
class ClipShape:
    """frames: F, one more than a multiple of four, as causal video codes want; every: control steps apart."""

    frames: int = 13
    every: int = 3
    size: int = 96

    def __post_init__(self) -> None:
        if self.frames < 1 or self.frames % 4 != 1:
            raise ValueError(f"a clip has 1, 5, 9, 13, ... frames; got {self.frames}")
        if self.every < 1 or self.size < 16:
            raise ValueError(f"every {self.every} must be at least 1 and size {self.size} at least 16")

    def fps(self, control_hz: float) -> float:
        return control_hz / self.every
