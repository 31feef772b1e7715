"""What the numbers of a card may be: vectors, directions, turns, ranges and inertias."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict


def _unit_length(vector: tuple[float, ...]) -> tuple[float, ...]:
    if abs(sum(v * v for v in vector) - 1.0) > 2e-3:
        raise ValueError(f"must have length 1, got {vector}")
    return vector


def _increasing(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] < limits[1]:
        raise ValueError(f"must be [low, high] with low < high, got {list(limits)}")
    return limits


def _of_a_body(inertia: tuple[float, ...]) -> tuple[float, ...]:
    """The principal moments of a real body: each above 0, none above the sum of the other two."""
    xx, yy, zz, xy, xz, yz = inertia
    low, middle, high = np.linalg.eigvalsh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if low <= 0 or high > 1.01 * (low + middle):
        raise ValueError(
            f"must be xx, yy, zz, xy, xz, yz of a body: its principal moments {low:.3g}, {middle:.3g} and "
            f"{high:.3g} must be above 0 and none above the sum of the others"
        )
    return inertia


Vec3 = tuple[float, float, float]
Axis = Annotated[Vec3, AfterValidator(_unit_length)]
QuatWxyz = Annotated[tuple[float, float, float, float], AfterValidator(_unit_length)]
Range = Annotated[tuple[float, float], AfterValidator(_increasing)]
Inertia = Annotated[tuple[float, float, float, float, float, float], AfterValidator(_of_a_body)]
Side = Literal["left", "right"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
