"""Which one is meant: a thing picked out of a scene by its kind, its colour, its size and where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.schema import KinemaError

PICKS = ("left", "right", "near", "far", "small", "big")
CLEAR_M = 0.03  # by which a picked thing is further left, or nearer, than the next: to be seen in a picture
CLEAR_RATIO = 1.15  # by which its size differs


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A thing as words can tell it apart.

    size_m: its longest side; place_m: where it lies, forward and to the left as the robot sees it
    """

    kind: str
    color: str
    size_m: float
    place_m: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a phrase says of a thing; what is empty is not said.

    not_color: the colour of the one that is not meant
    pick: the leftmost, rightmost, nearest to the robot, farthest from it, smallest or biggest of what fits
    near: of what fits, the one nearest to this other thing
    """

    kind: str = ""
    color: str = ""
    not_color: str = ""
    pick: str = ""
    near: Reference | None = None

    @property
    def said(self) -> tuple[str, ...]:
        """The names of what it says, in order: its structure."""
        return tuple(name for name in ("kind", "color", "not_color", "pick", "near") if getattr(self, name))

    def fitting(self, things: Sequence[Sight]) -> list[int]:
        """Those of this kind and colour, before one of them is picked."""
        return [
            i
            for i, thing in enumerate(things)
            if self.kind in ("", thing.kind)
            and self.color in ("", thing.color)
            and not (self.not_color and self.not_color == thing.color)
        ]

    def meant(self, things: Sequence[Sight], clearly: bool = False) -> int:
        """The number of the one thing that is meant. clearly: and nothing comes close to it.

        Raises KinemaError when nothing fits, or several do.
        """
        fits = self.fitting(things)
        if self.near is not None:
            other = self.near.meant(things, clearly)
            fits = [i for i in fits if i != other]
            margins = _margins([-_apart_m(things[i], things[other]) for i in fits], CLEAR_M)
        elif self.pick in ("small", "big"):
            sign = 1.0 if self.pick == "big" else -1.0
            margins = _margins([sign * np.log(things[i].size_m) for i in fits], np.log(CLEAR_RATIO))
        elif self.pick:
            axis, sign = {"left": (1, 1.0), "right": (1, -1.0), "near": (0, -1.0), "far": (0, 1.0)}[self.pick]
            margins = _margins([sign * things[i].place_m[axis] for i in fits], CLEAR_M)
        else:
            margins = [(1.0 if len(fits) == 1 else 0.0) for _ in fits]
        if not fits:
            raise KinemaError(f"nothing here is {self}")
        best = margins.index(max(margins))
        if margins[best] <= 0.0 or (clearly and margins[best] < 1.0):
            raise KinemaError(f"{len(fits)} things here may be {self}")
        return fits[best]

    def __str__(self) -> str:
        parts = [
            self.pick,
            self.color,
            f"not {self.not_color}" if self.not_color else "",
            self.kind or "thing",
        ]
        return " ".join(part for part in parts if part) + (f" nearest the {self.near}" if self.near else "")


def told_of(things: Sequence[Sight], target: int) -> list[Reference]:
    """What can be truly said of one thing of a scene, whether or not others are meant, too."""
    thing, kind = things[target], {"kind": things[target].kind}
    negated = [
        {**kind, "not_color": other} for other in sorted({o.color for o in things} - {thing.color, ""})
    ]
    colored = [{"color": thing.color}, {**kind, "color": thing.color}] if thing.color else []
    attributes: list[dict[str, Any]] = [kind, *colored, *negated]
    told = [Reference(**given) for given in attributes]
    told += [Reference(**given, pick=pick) for given in [*attributes, {}] for pick in PICKS]
    others = [
        Reference(kind=o.kind, color=color) for o in things if o != thing for color in {"": 0, o.color: 0}
    ]
    told += [Reference(**given, near=other) for given in attributes for other in others if "kind" in given]
    return list(dict.fromkeys(told))


def is_clear(reference: Reference, things: Sequence[Sight], target: int) -> bool:
    """Whether clearly this thing alone is meant, and it is not picked from things of which there is one."""
    if reference.pick or reference.near or reference.not_color:
        bare = Reference(kind=reference.kind, color=reference.color)
        if len(bare.fitting(things)) < 2:
            return False
    try:
        return reference.meant(things, clearly=True) == target
    except KinemaError:
        return False


def _apart_m(one: Sight, other: Sight) -> float:
    return float(np.hypot(one.place_m[0] - other.place_m[0], one.place_m[1] - other.place_m[1]))


def _margins(values: Sequence[float], clear: float) -> list[float]:
    """By how much each is more than all others, in units of what is clear; 1 for one that is alone."""
    if len(values) < 2:
        return [1.0 for _ in values]
    return [(value - max([*values[:i], *values[i + 1 :]])) / clear for i, value in enumerate(values)]
