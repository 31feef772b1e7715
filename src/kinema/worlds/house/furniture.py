"""Furniture of primitives: ProcTHOR's types with sizes like those of its assets, by kind of room.

A piece is given in its own unit cube: x along its back, y from its front (0) to its back (1), z upwards.
"""

from __future__ import annotations

from dataclasses import dataclass

Triple = tuple[float, float, float]
Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A box or an upright cylinder between two corners of the unit cube. tone: of the piece's colour."""

    low: Triple = (0, 0, 0)
    high: Triple = (1, 1, 1)
    tone: float = 1.0
    round: bool = False


@dataclass(frozen=True, kw_only=True)
class Piece:
    """wide, deep, high: m, from to. in_the_middle: of a room, rather than at a wall."""

    word: str
    wide: Span
    deep: Span
    high: Span
    parts: tuple[Part, ...] = (Part(),)
    in_the_middle: bool = False


def _legs(thick: float, top: float) -> tuple[Part, ...]:
    far = 1 - thick
    return tuple(
        Part(low=(x, y, 0), high=(x + thick, y + thick, top), tone=0.6) for x in (0, far) for y in (0, far)
    )


_TABLE = (Part(low=(0, 0, 0.9)), *_legs(0.08, 0.9))
_SEAT = (
    Part(high=(1, 1, 0.45)),
    Part(low=(0, 0.7, 0.45), tone=0.8),
    Part(low=(0, 0, 0.45), high=(0.12, 0.7, 0.7), tone=0.8),
    Part(low=(0.88, 0, 0.45), high=(1, 0.7, 0.7), tone=0.8),
)
_DRAWERS = (
    Part(),
    *(Part(low=(0.06, -0.02, z), high=(0.94, 0, z + 0.26), tone=0.7) for z in (0.04, 0.36, 0.68)),
)

CATALOGUE: dict[str, Piece] = {
    "Bed": Piece(
        word="bed", wide=(1.4, 1.9), deep=(1.9, 2.1), high=(0.7, 0.9),
        parts=(Part(high=(1, 1, 0.55)), Part(low=(0, 0.95, 0), tone=0.6),
               Part(low=(0.1, 0.72, 0.55), high=(0.9, 0.92, 0.7), tone=1.5)),
    ),
    "Dresser": Piece(word="dresser", wide=(0.9, 1.5), deep=(0.45, 0.55), high=(0.8, 1.0), parts=_DRAWERS),
    "Desk": Piece(
        word="desk", wide=(1.0, 1.5), deep=(0.55, 0.7), high=(0.72, 0.78),
        parts=(Part(low=(0, 0, 0.92)), Part(high=(0.06, 1, 0.92), tone=0.6),
               Part(low=(0.6, 0, 0), high=(1, 1, 0.92), tone=0.75)),
    ),
    "Sofa": Piece(word="sofa", wide=(1.7, 2.3), deep=(0.85, 0.95), high=(0.75, 0.9), parts=_SEAT),
    "ArmChair": Piece(word="armchair", wide=(0.8, 0.95), deep=(0.8, 0.95), high=(0.85, 1.0), parts=_SEAT),
    "CoffeeTable": Piece(
        word="coffee table", wide=(0.9, 1.3), deep=(0.5, 0.7), high=(0.4, 0.5), parts=_TABLE,
        in_the_middle=True,
    ),
    "TVStand": Piece(
        word="television", wide=(1.2, 1.7), deep=(0.4, 0.5), high=(1.1, 1.3),
        parts=(Part(high=(1, 1, 0.4)), Part(low=(0.1, 0.45, 0.45), high=(0.9, 0.55, 1), tone=0.1)),
    ),
    "ShelvingUnit": Piece(
        word="shelf", wide=(0.8, 1.2), deep=(0.35, 0.45), high=(1.6, 2.0),
        parts=(Part(low=(0, 0.9, 0), tone=0.6), Part(high=(0.06, 1, 1)), Part(low=(0.94, 0, 0)),
               *(Part(low=(0, 0, z), high=(1, 1, z + 0.04)) for z in (0, 0.24, 0.48, 0.72, 0.96))),
    ),
    "FloorLamp": Piece(
        word="lamp", wide=(0.35, 0.4), deep=(0.35, 0.4), high=(1.5, 1.7),
        parts=(Part(low=(0.45, 0.45, 0), high=(0.55, 0.55, 0.8), tone=0.4, round=True),
               Part(low=(0.2, 0.2, 0), high=(0.8, 0.8, 0.02), tone=0.4, round=True),
               Part(low=(0, 0, 0.8), round=True)),
    ),
    "DiningTable": Piece(
        word="dining table", wide=(1.2, 1.7), deep=(0.8, 1.0), high=(0.72, 0.78), parts=_TABLE,
        in_the_middle=True,
    ),
    "Fridge": Piece(
        word="fridge", wide=(0.7, 0.9), deep=(0.7, 0.8), high=(1.7, 1.9),
        parts=(Part(), Part(low=(0.08, -0.05, 0.45), high=(0.14, 0, 0.65), tone=0.3),
               Part(low=(0, -0.01, 0.68), high=(1, 0, 0.70), tone=0.3)),
    ),
    "CounterTop": Piece(
        word="counter", wide=(1.6, 2.4), deep=(0.6, 0.65), high=(0.88, 0.95),
        parts=(Part(low=(0, 0.05, 0), high=(1, 1, 0.94)), Part(low=(0, 0, 0.94), tone=0.4)),
    ),
    "GarbageCan": Piece(
        word="garbage can", wide=(0.35, 0.4), deep=(0.35, 0.4), high=(0.6, 0.7),
        parts=(Part(high=(1, 1, 0.85), round=True), Part(low=(0, 0, 0.85), tone=0.5, round=True)),
    ),
    "Toilet": Piece(
        word="toilet", wide=(0.4, 0.45), deep=(0.65, 0.72), high=(0.75, 0.82),
        parts=(Part(low=(0.1, 0, 0), high=(0.9, 0.7, 0.5), round=True), Part(low=(0, 0.7, 0))),
    ),
    "Bathtub": Piece(
        word="bathtub", wide=(1.5, 1.7), deep=(0.7, 0.8), high=(0.52, 0.58),
        parts=(Part(high=(1, 0.1, 1)), Part(low=(0, 0.9, 0)), Part(high=(0.07, 1, 1)), Part(low=(0.93, 0, 0)),
               Part(high=(1, 1, 0.5), tone=0.8)),
    ),
    "Sink": Piece(
        word="sink", wide=(0.6, 0.8), deep=(0.45, 0.5), high=(0.82, 0.88),
        parts=(Part(low=(0.35, 0.3, 0), high=(0.65, 0.9, 0.75), tone=0.8), Part(low=(0, 0, 0.75))),
    ),
    "WashingMachine": Piece(
        word="washing machine", wide=(0.6, 0.65), deep=(0.6, 0.65), high=(0.85, 0.9),
        parts=(Part(), Part(low=(0.2, -0.03, 0.25), high=(0.8, 0, 0.75), tone=0.2)),
    ),
    "HousePlant": Piece(
        word="plant", wide=(0.4, 0.55), deep=(0.4, 0.55), high=(0.8, 1.3),
        parts=(Part(low=(0.2, 0.2, 0), high=(0.8, 0.8, 0.35), tone=0.5, round=True),
               Part(low=(0.42, 0.42, 0.35), high=(0.58, 0.58, 0.6), tone=0.3, round=True),
               Part(low=(0, 0, 0.55), round=True)),
    ),
}  # fmt: skip

# What stands in every room of a kind, and what may.
ALWAYS: dict[str, tuple[str, ...]] = {
    "Kitchen": ("CounterTop", "Fridge"),
    "LivingRoom": ("Sofa", "TVStand"),
    "Bedroom": ("Bed",),
    "Bathroom": ("Toilet", "Sink"),
}
SOMETIMES: dict[str, tuple[str, ...]] = {
    "Kitchen": ("DiningTable", "GarbageCan", "ShelvingUnit", "HousePlant"),
    "LivingRoom": (
        "ArmChair",
        "CoffeeTable",
        "ShelvingUnit",
        "FloorLamp",
        "HousePlant",
        "Desk",
        "DiningTable",
    ),
    "Bedroom": ("Dresser", "Desk", "FloorLamp", "ShelvingUnit", "ArmChair", "HousePlant"),
    "Bathroom": ("Bathtub", "WashingMachine", "GarbageCan"),
}
