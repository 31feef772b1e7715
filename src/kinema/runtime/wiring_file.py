"""A wiring file: where a robot's numbers and pictures belong on a card, as strict YAML.

    version: 1
    card: so101
    channels:
      shoulder_pan: {key: shoulder_pan.pos, unit: deg, reversed: false, zero: 0}
      gripper: {key: gripper.pos, unit: percent}
    cameras: {front: front, wrist: wrist}

`actions` has lines for commands that go by another key or unit than the readings of the same name. What was
guessed carries a question mark (`unit: "deg?"`) and is refused until a person has taken it away.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from kinema.card.card import EmbodimentCard
from kinema.card.strict_model import read_model
from kinema.card.strict_yaml import StrictYamlError
from kinema.runtime.wiring import UNITS, Line, Plan, Wire
from kinema.schema import KinemaError

DRIVERS = "driver"  # the unit that the driver declares
GUESS = "?"


def _settled(text: str) -> str:
    if text.endswith(GUESS):
        raise ValueError("is a guess; compare it with the robot, correct it, and take the question mark away")
    return text


def _known_unit(text: str) -> str:
    if _settled(text) not in (*UNITS, DRIVERS):
        near = get_close_matches(text, UNITS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choices: {', '.join(UNITS)}, {DRIVERS}"
        raise ValueError(f"unknown unit; {hint}")
    return text


Key = Annotated[str, AfterValidator(_settled)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Line(_Strict):
    key: Key | None = None
    unit: Annotated[str, AfterValidator(_known_unit)] | None = None
    reversed: bool = False
    zero: float = 0.0
    scale: float | None = None
    offset: float | None = None

    @model_validator(mode="after")
    def _one_way_of_saying_it(self) -> _Line:
        if self.scale is None and self.offset is not None:
            raise ValueError("offset stands beside scale: value on the card = scale * value + offset")
        if self.scale is not None and (self.unit is not None or self.reversed or self.zero):
            raise ValueError("scale and offset say all; unit, reversed and zero do not stand beside them")
        if self.scale == 0:
            raise ValueError("scale must not be 0")
        return self

    def line(self) -> Line:
        wire = None if self.scale is None else Wire(key="", scale=self.scale, offset=self.offset or 0.0)
        return Line(
            key=self.key,
            unit=None if self.unit == DRIVERS else self.unit,
            reversed=self.reversed,
            zero=self.zero,
            wire=wire,
        )


class _File(_Strict):
    version: Literal[1]
    card: str
    channels: dict[str, _Line] = Field(default_factory=dict)
    actions: dict[str, _Line] = Field(default_factory=dict)
    cameras: dict[str, Key] = Field(default_factory=dict)
    torques: dict[str, _Line] = Field(default_factory=dict)
    also: dict[str, Key] = Field(default_factory=dict)
    fixed: dict[str, float] = Field(default_factory=dict)


def read_wiring(path: Path, card: EmbodimentCard) -> Plan:
    """The plan in a wiring file for this card. Raises KinemaError naming file, key, value and choices."""
    try:
        told = read_model(_File, path, "wiring file")
    except StrictYamlError as error:
        raise KinemaError(str(error)) from None
    if told.card != card.name:
        raise KinemaError(f"{path}: card: it is for {told.card!r}, not for {card.name!r}")
    return Plan(
        channels={name: each.line() for name, each in told.channels.items()},
        actions={name: each.line() for name, each in told.actions.items()},
        cameras=told.cameras,
        torques={name: each.line() for name, each in told.torques.items()},
        also=told.also,
        fixed=told.fixed,
        where=str(path),
    )
