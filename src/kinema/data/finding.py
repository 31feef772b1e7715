"""One thing compared between a data set and a card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["same", "converted", "note", "refused"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing compared. `how`: what is done about it, or the line that mends it."""

    what: str
    found: str
    wanted: str
    verdict: Verdict
    how: str = ""

    def __str__(self) -> str:
        return f"{self.what}: the set has {self.found}, the card {self.wanted}" + (
            f"; {self.how}" if self.how else ""
        )
