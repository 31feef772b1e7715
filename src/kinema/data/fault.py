"""What can be wrong with a data set, and whether it can be read or mended all the same."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    FOREIGN = "foreign version"
    INTERRUPTED = "interrupted change"
    MISSING = "missing file"
    UNREADABLE = "unreadable file"
    METADATA = "wrong metadata"
    CHANGED = "changed content"
    COUNTS = "counts disagree"
    INDEX_GAP = "index gap"
    TIMESTAMPS = "timestamps off the grid"
    MISSING_VALUES = "missing values"
    NON_FINITE = "non-finite values"
    SHAPE = "wrong shape"
    TASK = "unknown task"
    CLIP = "wrong clip"
    SHORT_VIDEO = "short video"
    SURPLUS = "pictures without rows"
    PICTURE = "unreadable picture"
    FPS = "wrong fps"
    STATISTICS = "statistics"
    ORPHAN = "file without episode"
    REMARK = "remark"


# What is read is right all the same: these do not keep a data set from being opened.
HARMLESS = frozenset({Kind.STATISTICS, Kind.ORPHAN, Kind.CHANGED, Kind.SURPLUS, Kind.REMARK})


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault. `repairable` False: `repair` cannot mend it and sets the episode aside (or stops).

    harmless: numbers and pictures are read rightly in spite of it
    """

    kind: Kind
    where: str
    detail: str
    repairable: bool
    episode: int | None = None
    harmless: bool = False

    def __str__(self) -> str:
        hint = "" if self.repairable or self.kind == Kind.REMARK else " [cannot be mended]"
        return f"{self.kind}: {self.where}: {self.detail}{hint}"

    @property
    def forbids_reading(self) -> bool:
        return not self.harmless and self.kind not in HARMLESS


def remark(where: str, detail: str) -> Fault:
    """Something true that harms nothing."""
    return Fault(kind=Kind.REMARK, where=where, detail=detail, repairable=False)
