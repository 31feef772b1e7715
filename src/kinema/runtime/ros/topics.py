"""A topics file: by which topics and joint names ROS knows a body, as strict YAML. It needs no ROS.

    version: 1
    card: ur5e
    joint_states: {topic: /joint_states}
    joints:                       # the card's; by its names, in rad or m (REP 103), where nothing is said
      elbow: {key: elbow_joint}
    openings:                     # grippers and hands: the ROS joint where the channel is closed, and open
      gripper: {key: finger_joint, closed: 0.8, open: 0.0}
    cameras:
      front: {topic: /front/image_raw}
      wrist: {topic: /wrist/image_raw/compressed, compressed: true}
    commands:
      - {trajectory: /arm_controller/joint_trajectory, joints: [elbow_joint, ...]}
      - {follow: /gripper_controller/follow_joint_trajectory, joints: [finger_joint]}

What this says is compared with the card by `kinema.runtime.ros.mapping`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from kinema.card.strict_model import read_model
from kinema.card.strict_yaml import StrictYamlError
from kinema.card.values import Side
from kinema.schema import KinemaError
from kinema.space.units import UNITS


def _absolute(topic: str) -> str:
    parts = topic.split("/")
    if (
        parts[0]
        or len(parts) < 2
        or not all(part.isascii() and part.replace("_", "a").isalnum() for part in parts[1:])
    ):
        raise ValueError("a topic begins with a slash and has letters, digits and _ between slashes")
    return topic


def _known_unit(unit: str) -> str:
    if unit not in UNITS:
        raise ValueError(f"unknown unit; choices: {', '.join(UNITS)}")
    return unit


Topic = Annotated[str, AfterValidator(_absolute)]
_Seconds = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Sensor(_Strict):
    """A topic that is read. A message that is older than `stale_after_s` is not used."""

    topic: Topic
    stale_after_s: _Seconds = 0.25


class CameraTopic(Sensor):
    """`compressed`: sensor_msgs/CompressedImage in place of sensor_msgs/Image."""

    compressed: bool = False


class JointLine(_Strict):
    """A joint of ROS for a joint of the card.

    unit: None takes rad or m, as ROS has them; zero: ROS's number where the card's is 0
    """

    key: str
    unit: Annotated[str, AfterValidator(_known_unit)] | None = None
    reversed: bool = False
    zero: float = 0.0


class OpeningLine(_Strict):
    """A joint of ROS for a gripper's or hand's channel, and its positions at both ends."""

    key: str
    closed: float
    open: float

    @model_validator(mode="after")
    def _two_ends(self) -> OpeningLine:
        if self.closed == self.open:
            raise ValueError(f"closed and open are both {self.open:g}")
        return self


class CommandLine(_Strict):
    """One way on which commands leave; exactly one of the first four is given.

    trajectory: trajectory_msgs/JointTrajectory for `joints`, by ROS's names
    follow:     the same as goals of a control_msgs/FollowJointTrajectory action
    pose:       geometry_msgs/PoseStamped of a tool's target, for a controller that takes poses
    twist:      geometry_msgs/Twist of a base
    """

    trajectory: Topic | None = None
    follow: Topic | None = None
    pose: Topic | None = None
    twist: Topic | None = None
    joints: tuple[str, ...] = ()
    side: Side = "right"

    @model_validator(mode="after")
    def _one_way(self) -> CommandLine:
        given = [name for name in ("trajectory", "follow", "pose", "twist") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"give one of trajectory, follow, pose, twist; got {given or 'none'}")
        if bool(self.joints) != (given[0] in ("trajectory", "follow")):
            raise ValueError("joints are named for trajectory and follow, and for nothing else")
        return self


class EStopLine(_Strict):
    """A std_msgs/Bool, true for stop. within_s: with it, silence for so long is a stop, too."""

    topic: Topic
    within_s: _Seconds | None = None


class Frames(_Strict):
    """Names in TF: the robot's frame on the card, and the tools' by side; those not named are not sent."""

    base: str = "base_link"
    tools: dict[Side, str] = Field(default_factory=dict)


class Topics(_Strict):
    """What a topics file says. See the head of this file."""

    version: Literal[1]
    card: str
    joint_states: Sensor | None = None
    joints: dict[str, JointLine] = Field(default_factory=dict)
    openings: dict[str, OpeningLine] = Field(default_factory=dict)
    efforts: bool = False  # whether the joint states' efforts are N m and N, for the guard
    odometry: Sensor | None = None
    cameras: dict[str, CameraTopic] = Field(default_factory=dict)
    commands: tuple[CommandLine, ...]
    e_stop: EStopLine | None = None
    frames: Frames = Frames()


def read_topics(path: Path) -> Topics:
    """The topics in a file. Raises KinemaError naming file, key, value and choices."""
    try:
        return read_model(Topics, path, "topics file")
    except StrictYamlError as error:
        raise KinemaError(str(error)) from None
