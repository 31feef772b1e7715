"""What a user says of a data set that calls or counts things otherwise than a card: names, units, cameras.

    card: so101                           # whose data these are, where the set's robot_type does not say it
    columns: {action: actions}            # other columns than action and observation.state; several are one
    cameras: {front: top, wrist: hand}    # the set's cameras by the card's
    channels:
      shoulder_pan: {key: pan.pos, unit: deg}
      gripper: {ends: [0, 100]}           # the set's numbers where the card's range begins and ends
      lift: {unit: mm, action: {unit: m}} # where commands are counted otherwise than measurements
    rate_hz: 20                           # of the rows, where info.json says another
    zero_attitude: {right: [1, 0, 0, 0]}  # the tool's attitude (w, x, y, z, in the robot's frame) from which
                                          # the set's rotation vectors turn, where it is not the card's
    leave_out: [tilt]                     # what the set commands and the card does not have
    outside: 0.05                         # share of the frames that may lie outside the card's ranges
    learn_from: all                       # of a policy that a person corrected: its own steps, too

Names of the card stand on the left; the words are those of a robot's wiring file. A `key` is a name, or the
place of a number where names are missing or stand twice. A file `kinema.yaml` in the
data set's folder is read wherever the set is opened for training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kinema.card.card import Channel
from kinema.card.strict_model import read_model
from kinema.card.strict_yaml import StrictYamlError
from kinema.card.values import QuatWxyz, Side
from kinema.schema import KinemaError
from kinema.space.units import UNITS


@dataclass(frozen=True, kw_only=True)
class Scale:
    """native value = scale * the set's value + offset."""

    scale: float = 1.0
    offset: float = 0.0

    @property
    def changes(self) -> bool:
        return (self.scale, self.offset) != (1.0, 0.0)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ChannelMap(_Strict):
    """One channel: what the set calls it, and how its numbers become the card's.

    unit (with reversed and zero), ends, or scale and offset; nothing of it means the card's own unit.
    """

    key: str | None = None
    action_key: str | None = None  # where the commanded number is called otherwise than the measured one
    unit: str | None = None
    reversed: bool = False  # whether the set counts the other way round
    zero: float = 0.0  # the set's number, in its own unit, where the card's channel is 0
    ends: tuple[float, float] | None = None  # the set's numbers where the card's range begins and ends
    scale: float | None = None
    offset: float = 0.0
    action: ChannelMap | None = None  # all of this for the commanded number, where it differs

    @model_validator(mode="after")
    def _one_way(self) -> ChannelMap:
        ways = [self.unit is not None, self.ends is not None, self.scale is not None]
        if sum(ways) > 1:
            raise ValueError("say one of unit, ends and scale")
        if self.unit is not None and self.unit not in UNITS:
            raise ValueError(f"unknown unit {self.unit!r}; choices: {', '.join(UNITS)}")
        if (self.reversed or self.zero) and self.unit is None:
            raise ValueError("reversed and zero belong to a unit")
        if self.ends is not None and self.ends[0] == self.ends[1]:
            raise ValueError(f"ends must differ, got {list(self.ends)}")
        if self.scale == 0 or (self.offset and self.scale is None):
            raise ValueError("scale must be given and not 0")
        if self.action is not None and (self.action_key or self.action.action_key or self.action.action):
            raise ValueError("what stands below action is of the commanded number: its name is a key there")
        return self

    def to_card(self, channel: Channel) -> Scale:
        """Raises KinemaError when the unit cannot become the channel's."""
        if self.scale is not None:
            return Scale(scale=self.scale, offset=self.offset)
        if self.ends is not None:
            (low, high), (at_low, at_high) = channel.range, self.ends
            scale = (high - low) / (at_high - at_low)
            return Scale(scale=scale, offset=low - scale * at_low)
        if self.unit is None:
            return Scale()
        return scale_of(self.unit, channel, self.reversed, self.zero)


class SetMap(_Strict):
    """All that a user says of one data set. See the module."""

    card: str | None = None
    columns: Mapping[str, str | tuple[str, ...]] = {}
    cameras: Mapping[str, str] = {}
    channels: Mapping[str, ChannelMap] = {}
    rate_hz: Annotated[float, Field(gt=0)] | None = None
    zero_attitude: Mapping[Side, QuatWxyz] = {}
    leave_out: tuple[str, ...] = ()
    outside: Annotated[float, Field(ge=0, le=1)] = 0.01
    learn_from: Literal["person", "all"] = "person"  # of a set that says which steps a person had the body

    def line(self, channel: str, measured: bool) -> ChannelMap:
        """What is said of a channel as it is measured, or as it is commanded."""
        line = self.channels.get(channel, ChannelMap())
        return line if measured or line.action is None else line.action


AS_IT_IS = SetMap()
FILE = "kinema.yaml"


def set_map_of(root: Path) -> SetMap:
    """The map that lies in a data set's folder; an empty one where none does. Raises KinemaError."""
    path = root / FILE
    return read_set_map(path) if path.is_file() else AS_IT_IS


def scale_of(unit: str, channel: Channel, reverse: bool = False, zero: float = 0.0) -> Scale:
    """How numbers in this unit become a channel's. Raises KinemaError when they cannot."""
    found = UNITS[unit]
    if found.of != channel.unit:
        fitting = [u.name for u in UNITS.values() if u.of == channel.unit]
        raise KinemaError(
            f"{channel.name!r}: {unit} cannot become {channel.unit}; units that can: {', '.join(fitting)}"
        )
    scale = -found.scale if reverse else found.scale
    return Scale(scale=scale, offset=-scale * zero + 0.0)


def read_set_map(path: Path) -> SetMap:
    """A map from a YAML file. Raises KinemaError naming the file, the key and the fault."""
    try:
        return read_model(SetMap, path, "map")
    except StrictYamlError as error:
        raise KinemaError(str(error)) from None
