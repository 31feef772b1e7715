"""Recompute tests/card/kinematics_reference.json: the makers' models' poses at random joints and limits.

    python scripts/make_kinematics_reference.py DIR [--only CARD ...]

DIR holds the makers' models as URDF, under the names in `_MODELS`; models that are not there are left as they
are in the file. Where the maker writes xacro, expand it with `xacro FILE ARGUMENTS` from the repository and
commit that `made_from` names (`$(find PACKAGE)` is the package's folder). Meta-World's Sawyer is taken from
the installed package.
"""

from __future__ import annotations

import argparse
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np

from kinema.card.load import load_card

REFERENCE = Path(__file__).parent.parent / "tests" / "card" / "kinematics_reference.json"
SAMPLES = 24

_NOT_KINEMATIC = (
    *("geom", "camera", "site", "asset", "actuator", "visual", "collision", "default", "sensor"),
    *("transmission", "material", "equality", "inertial", "keyframe", "gazebo", "ros2_control", "mujoco"),
)

Quat = tuple[float, float, float, float]
Poses = dict[str, np.ndarray]  # T_base_frame (4, 4) by the card's name of the frame

_HALF = 0.5**0.5
_QUARTER_ABOUT_Z: Quat = (_HALF, 0.0, 0.0, _HALF)
_RANGE = ("range",)
_ALL = ("range", "velocity", "effort")
_INTERBOTIX = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
_G1 = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll", "wrist_pitch", "wrist_yaw")
_GR1 = (
    "shoulder_pitch",
    "shoulder_roll",
    "shoulder_yaw",
    "elbow_pitch",
    "wrist_yaw",
    "wrist_roll",
    "wrist_pitch",
)
_UNIVERSAL = tuple(
    f"{name}_joint" for name in ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")
)


@dataclass(frozen=True, kw_only=True)
class _Model:
    """A maker's model of a card's arm, and which of its frames are which of the card's."""

    file: str
    made_from: str
    base: str
    joints: tuple[str, ...]
    frames: Mapping[str, str]  # the model's link by the card's, or by "tool"
    turned: Mapping[str, Quat] = field(
        default_factory=dict
    )  # where the card turns a frame: its pose in the model's
    limits: tuple[str, ...]  # those of the model's limits that are no placeholders


def _numbered(name: str, count: int, first: int = 1) -> tuple[str, ...]:
    return tuple(name.format(i) for i in range(first, first + count))


def _franka(file: str, arm: str, *, tool: bool = True) -> _Model:
    frames = {"link4": f"{arm}_link4", "hand": f"{arm}_hand"}
    return _Model(
        file=file,
        made_from=f"frankarobotics/franka_description 566ba44, robots/{arm}/{arm}.urdf.xacro hand:=true",
        base=f"{arm}_link0",
        joints=_numbered(f"{arm}_joint{{}}", 7),
        frames=frames | ({"tool": f"{arm}_hand_tcp"} if tool else {}),
        limits=_ALL,
    )


def _universal(file: str, name: str) -> _Model:
    return _Model(
        file=file,
        made_from=f"UniversalRobots/Universal_Robots_ROS2_Description 2221ec0, ur.urdf.xacro ur_type:={name}",
        base="base",
        joints=_UNIVERSAL,
        frames={"hand": "tool0"},
        limits=_ALL,
    )


def _interbotix(file: str, name: str, *, tool: bool) -> _Model:
    frames = {link: f"{name}/{link}" for link in ("upper_forearm_link", "gripper_link")}
    return _Model(
        file=file,
        made_from=f"Interbotix/interbotix_ros_manipulators 0bb2b0e, {name}.urdf.xacro",
        base=f"{name}/base_link",
        joints=_INTERBOTIX,
        frames=frames | ({"tool": f"{name}/ee_gripper_link"} if tool else {}),
        turned={"tool": (0.0, _HALF, 0.0, _HALF)},
        limits=_ALL,
    )


def _unitree(side: str) -> _Model:
    return _Model(
        file="g1_29dof_rev_1_0_with_inspire_hand_DFQ.urdf",
        made_from="unitreerobotics/unitree_ros d6f13aa, g1_29dof_rev_1_0_with_inspire_hand_DFQ.urdf",
        base="torso_link",
        joints=tuple(f"{side}_{name}_joint" for name in _G1),
        frames={f"{side}_{name}_link": f"{side}_{name}_link" for name in ("elbow", "wrist_yaw")},
        limits=_ALL,
    )


def _fourier(base: str, joints: tuple[str, ...], frames: Mapping[str, str]) -> _Model:
    made_from = "robots/gr1/robot.xml of praxis-robosuite 1.5.2.post1"
    return _Model(file="gr1.xml", made_from=made_from, base=base, joints=joints, frames=frames, limits=_RANGE)


def _fourier_arm(side: str) -> _Model:
    frames = {f"{side[0]}_{link}": f"{side[0]}_{link}" for link in ("lower_arm_pitch", "hand_pitch")}
    return _fourier(f"{side}_arm_mount", tuple(f"{side[0]}_{joint}" for joint in _GR1), frames)


_MODELS = {  # by card, or by card and side where its arms are no copies of each other
    "gr1 left": _fourier_arm("left"),
    "gr1 right": _fourier_arm("right"),
    "gr1 torso": _fourier(  # frames: the arms' bases
        "base",
        tuple(f"torso_waist_{axis}" for axis in ("yaw", "pitch", "roll")),
        {side: f"{side}_arm_mount" for side in ("left", "right")},
    ),
    "g1 left": _unitree("left"),
    "g1 right": _unitree("right"),
    "panda": _franka("fer.urdf", "fer"),
    "panda_libero": _franka("fer.urdf", "fer", tool=False),  # robosuite's tool is another than the maker's
    "fr3": _franka("fr3.urdf", "fr3"),
    "ur5e": _universal("ur5e.urdf", "ur5e"),
    "ur10e": _universal("ur10e.urdf", "ur10e"),
    # with the ALOHA finger set their tool is another than the maker's
    "aloha": _interbotix("vx300s.urdf", "vx300s", tool=False),
    "aloha_gym": _interbotix("vx300s.urdf", "vx300s", tool=False),
    "viperx": _interbotix("vx300s.urdf", "vx300s", tool=False),
    "widowx": _interbotix("wx250s.urdf", "wx250s", tool=True),
    "widowx_simpler": _interbotix("wx250s.urdf", "wx250s", tool=True),
    "xarm7": _Model(
        file="xarm7.urdf",
        made_from="xArm-Developer/xarm_ros2 3654ba7, macros xarm7_urdf and xarm_gripper_urdf",
        base="link_base",
        joints=_numbered("joint{}", 7),
        frames={"link4": "link4", "link7": "link7", "hand": "xarm_gripper_base_link"},
        limits=_ALL,
    ),
    "iiwa14": _Model(
        file="iiwa14.urdf",
        made_from="epfl-lasa/iiwa_ros 9d2b99f, iiwa_description/urdf/iiwa14.urdf.xacro (not the maker's)",
        base="iiwa_link_0",
        joints=_numbered("iiwa_joint_{}", 7),
        frames={"link4": "iiwa_link_4", "link7": "iiwa_link_7", "hand": "iiwa_link_ee"},
        limits=_ALL,
    ),
    "kinova_gen3": _Model(
        file="gen3.urdf",
        made_from="Kinovarobotics/ros2_kortex 1fdbef3, kortex_description/robots/gen3.xacro dof:=7",
        base="base_link",
        joints=_numbered("joint_{}", 7),
        frames={
            "forearm_link": "forearm_link",
            "Bracelet_Link": "bracelet_link",
            "hand": "end_effector_link",
        },
        turned={"hand": _QUARTER_ABOUT_Z},
        limits=_ALL,
    ),
    "jaco": _Model(
        file="j2s7s300.urdf",
        made_from="Kinovarobotics/kinova-ros 924781d3, kinova_description/urdf/j2s7s300_standalone.xacro",
        base="j2s7s300_link_base",
        joints=_numbered("j2s7s300_joint_{}", 7),
        frames={"link_4": "j2s7s300_link_4", "link_7": "j2s7s300_link_7", "tool": "j2s7s300_end_effector"},
        turned={"tool": _QUARTER_ABOUT_Z},
        limits=_ALL,
    ),
    "sawyer": _Model(
        file="sawyer.urdf",
        made_from="RethinkRobotics/sawyer_robot d1ef3d0, sawyer_description/urdf/sawyer.urdf.xacro",
        base="base",
        joints=_numbered("right_j{}", 7, first=0),
        frames={"right_l3": "right_l3", "right_l6": "right_l6", "hand": "right_hand"},
        limits=_ALL,
    ),
    "piper": _Model(
        file="piper.urdf",
        made_from="agilexrobotics' piper_description.urdf of 2024-11-29 (wittymachines/Piper_ros c1b78fd)",
        base="base_link",
        joints=_numbered("joint{}", 6),
        frames={"link3": "link3", "hand": "link6"},
        turned={"hand": _QUARTER_ABOUT_Z},
        limits=("range", "velocity"),
    ),
    "yam": _Model(
        file="yam.urdf",
        made_from="i2rt-robotics/i2rt 5d47b35, robot_models/arm/yam/yam.urdf",
        base="base",
        joints=_numbered("joint{}", 6),
        frames={"hand": "gripper"},
        turned={"hand": (0.0, 0.0, 1.0, 0.0)},
        limits=_RANGE,
    ),
    "arx_l5": _Model(
        file="x5liteaa0.urdf",
        made_from="ARXroboticsX/ARX_L5_SDK ab56aab, follow1/src/arm_control/models/X5liteaa0.urdf",
        base="base_link",
        joints=_numbered("joint{}", 6),
        frames={"link3": "link3", "hand": "link6"},
        turned={"hand": (0.0, _HALF, 0.0, _HALF)},
        limits=(),
    ),
    "aloha_agilex": _Model(
        file="arx5_description_isaac.urdf",
        made_from="agilexrobotics/mobile_aloha_sim, aloha_isaac_sim/urdf/arx5_description_isaac.urdf",
        base="fl_base_link",
        joints=_numbered("fl_joint{}", 6),
        frames={"link3": "fl_link3", "link6": "fl_link6"},
        limits=(),
    ),
    "so101": _Model(
        file="so101.urdf",
        made_from="TheRobotStudio/SO-ARM100 fda892c, Simulation/SO101/so101_new_calib.urdf",
        base="base_link",
        joints=("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll"),
        frames={"lower_arm": "lower_arm_link", "gripper": "gripper_link"},
        limits=_RANGE,
    ),
}
_METAWORLD = _Model(
    file="xyz_base.xml",
    made_from="metaworld 3.1.1, objects/assets/xyz_base.xml",
    base="base",
    joints=_numbered("right_j{}", 7, first=0),
    frames={name: name for name in ("right_l3", "right_l6", "hand")},
    limits=(),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, metavar="DIR")
    parser.add_argument("--only", nargs="*", help="names of cards")
    args = parser.parse_args()
    reference = json.loads(REFERENCE.read_text()) if REFERENCE.exists() else {}
    for card_name, model, path in _at_hand(args.models):
        if args.only and card_name not in args.only:
            continue
        reference[card_name] = {
            "made_from": model.made_from,
            "limits": _limits(path, model),
            "samples": _samples(card_name, _reader(path, model)),
        }
        print(f"{card_name}: {SAMPLES} poses from {model.made_from}")
    text = json.dumps(dict(sorted(reference.items())), separators=(",", ":"))
    REFERENCE.write_text(text.replace('{"q"', '\n{"q"') + "\n")


def _at_hand(folder: Path) -> Iterator[tuple[str, _Model, Path]]:
    for card_name, model in _MODELS.items():
        if (folder / model.file).exists():
            yield card_name, model, folder / model.file
        else:
            print(f"{card_name}: no {model.file} in {folder}")
    if spec := find_spec("metaworld"):
        assets = Path(str(spec.origin)).parent / "assets" / "objects" / "assets"
        yield "sawyer_metaworld", _METAWORLD, assets / _METAWORLD.file


def _limits(path: Path, model: _Model) -> list[dict[str, object]]:
    """What a model allows each joint: range [rad], velocity [rad/s], effort [N m], where it says so."""
    root = ET.parse(path).getroot()
    stated = {joint.get("name"): joint.find("limit") for joint in root.findall("joint")}
    ranges = {joint.get("name"): joint.get("range", "").split() for joint in root.iter("joint")}
    rows = []
    for name in model.joints:
        limit = stated.get(name)
        given = {} if limit is None else {key: float(value) for key, value in limit.attrib.items()}
        row: dict[str, object] = {key: given[key] for key in model.limits if key in given}
        if "range" in model.limits and "lower" in given:
            row["range"] = [given["lower"], given["upper"]]
        elif "range" in model.limits and ranges.get(name):
            row["range"] = [float(end) for end in ranges[name]]
        rows.append(row)
    return rows


def _compile(path: Path) -> tuple[mujoco.MjModel, str]:
    """The bodies and joints of an MJCF file, fragment or URDF, without shapes, and the URDF's root link."""
    root = ET.parse(path).getroot()
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in _NOT_KINEMATIC or child.get("mocap") == "true":
                parent.remove(child)
        for key in ("childclass", "class"):
            parent.attrib.pop(key, None)
    if root.tag == "robot":
        ET.SubElement(ET.SubElement(root, "mujoco"), "compiler", fusestatic="false", balanceinertia="true")
        for link in root.findall("link"):
            _give_mass(link, urdf=True)
        children = {str(child.get("link")) for child in root.iter("child")}
        origin = next(
            name for link in root.findall("link") if (name := str(link.get("name"))) not in children
        )
        return mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode")), origin
    world = ET.Element("worldbody")
    whole = root.find("worldbody")
    world.extend([child for child in (root if whole is None else whole) if child.tag == "body"])
    root = ET.Element("mujoco")
    ET.SubElement(root, "compiler", angle="radian")
    root.append(world)
    for body in root.iter("body"):
        _give_mass(body, urdf=False)
    return mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode")), "world"


def _give_mass(body: ET.Element, *, urdf: bool) -> None:
    """MuJoCo wants an inertia on every moving body; any will do, for poses do not depend on it."""
    inertial = ET.SubElement(body, "inertial")
    if urdf:
        ET.SubElement(inertial, "mass", value="1")
        ET.SubElement(inertial, "inertia", ixx="1", iyy="1", izz="1", ixy="0", ixz="0", iyz="0")
    else:
        inertial.attrib.update(pos="0 0 0", mass="1", diaginertia="1 1 1")


def _reader(path: Path, model: _Model) -> Callable[[np.ndarray], Poses]:
    """From joint values to the poses of the card's frames in the arm's base."""
    compiled, origin = _compile(path)
    data = mujoco.MjData(compiled)
    addresses = [int(compiled.joint(name).qposadr[0]) for name in model.joints]
    # A URDF's root link becomes the world. MuJoCo names the choices when a body is missing.
    bodies = {
        name: 0 if name == origin else compiled.body(name).id for name in (model.base, *model.frames.values())
    }

    def pose(body: str) -> np.ndarray:
        T_world_body = np.eye(4)
        T_world_body[:3, :3] = data.xmat[bodies[body]].reshape(3, 3)
        T_world_body[:3, 3] = data.xpos[bodies[body]]
        return T_world_body

    def read(q: np.ndarray) -> Poses:
        data.qpos[addresses] = q
        mujoco.mj_kinematics(compiled, data)
        T_base_world = np.linalg.inv(pose(model.base))
        return {
            frame: T_base_world @ pose(body) @ _turn(model.turned.get(frame, (1.0, 0.0, 0.0, 0.0)))
            for frame, body in model.frames.items()
        }

    return read


def _turn(quat_wxyz: Quat) -> np.ndarray:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, np.array(quat_wxyz))
    T = np.eye(4)
    T[:3, :3] = matrix.reshape(3, 3)
    return T


def _samples(card_name: str, read: Callable[[np.ndarray], Poses]) -> list[dict[str, object]]:
    name, _, part = card_name.partition(" ")
    card = load_card(name)
    chain = card.torso if part == "torso" else next((a for a in card.arms if a.side == part), card.arms[0])
    assert chain is not None
    low, high = np.array([joint.range for joint in chain.joints]).T
    rng = np.random.default_rng(7)
    samples = []
    for _ in range(SAMPLES):
        q = np.round(rng.uniform(low, high), 5)
        poses = {name: np.round(T[:3], 6).tolist() for name, T in read(q).items()}
        samples.append({"q": q.tolist(), "frames": poses})
    return samples


if __name__ == "__main__":
    main()
