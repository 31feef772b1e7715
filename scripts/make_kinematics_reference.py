"""Recompute tests/card/kinematics_reference.json: link poses of the makers' models at random joints.

    python scripts/make_kinematics_reference.py --robosuite DIR --gym-aloha DIR --menagerie DIR \\
        --so101 FILE --wx250s FILE

DIR is the folder of the (unpacked) package or repository, FILE the MJCF or URDF. Models that are not given
are left as they are in the file. Meta-World's Sawyer is taken from the installed package, the arms of
Universal Robots from their published tables. `--only` recomputes these cards alone.
"""

from __future__ import annotations

import argparse
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np

from kinema.card.kinematics import arm_of
from kinema.card.load import load_card

REFERENCE = Path(__file__).parent.parent / "tests" / "card" / "kinematics_reference.json"
SAMPLES = 24

_NOT_KINEMATIC = (
    *("geom", "camera", "site", "asset", "actuator", "visual", "collision", "default", "sensor"),
    *("transmission", "material", "equality", "inertial"),
)

# card, tag, d [m] and a [m] of the six joints
_UNIVERSAL = (
    ("ur5e", "UR5e", (0.1625, 0, 0, 0.1333, 0.0997, 0.0996), (0, -0.425, -0.3922, 0, 0, 0)),
    ("ur10e", "UR10e", (0.1807, 0, 0, 0.17415, 0.11985, 0.11655), (0, -0.6127, -0.57155, 0, 0, 0)),
)
# card, folder, joints' name and first number, links of the card, what the model writes before their names
_ROBOSUITE = (
    ("kinova_gen3", "kinova3", "Actuator", 1, ("forearm_link", "Bracelet_Link"), ""),
    ("sawyer", "sawyer", "right_j", 0, ("right_l3", "right_l6"), ""),
    ("jaco", "jaco", "j2s7s300_joint_", 1, ("link_4", "link_7"), "j2s7s300_"),
)
# card, file, base body, joints' name and number, links of the card, what the model writes before their names
_MENAGERIE = (
    ("fr3", "franka_fr3/fr3.xml", "base", "fr3_joint", 7, ("link4", "link7"), "fr3_"),
    ("iiwa14", "kuka_iiwa_14/iiwa14.xml", "base", "joint", 7, ("link4", "link7"), ""),
    ("arx_l5", "arx_l5/arx_l5.xml", "base_link", "joint", 6, ("link3", "link6"), ""),
    ("piper", "agilex_piper/piper.xml", "base_link", "joint", 6, ("link3", "link6"), ""),
    ("yam", "i2rt_yam/yam.xml", "arm", "joint", 6, ("link_3", "link_6"), ""),
)

Poses = dict[str, np.ndarray]  # T_base_link (4, 4) by the card's link name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("robosuite", "gym-aloha", "menagerie", "so101", "wx250s"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--only", nargs="*", help="names of cards")
    args = parser.parse_args()
    reference = json.loads(REFERENCE.read_text()) if REFERENCE.exists() else {}
    for card_name, (made_from, links) in _models(args).items():
        if args.only and card_name not in args.only:
            continue
        reference[card_name] = {"made_from": made_from, "samples": _samples(card_name, links)}
        print(f"{card_name}: {SAMPLES} poses from {made_from}")
    REFERENCE.write_text(
        json.dumps(reference, indent=None, separators=(",", ":")).replace('{"q"', '\n{"q"') + "\n"
    )


def _models(args: argparse.Namespace) -> dict[str, tuple[str, Callable[[np.ndarray], Poses]]]:
    """For each card at hand: what the poses are made from, and a function from joint values to poses."""
    models: dict[str, tuple[str, Callable[[np.ndarray], Poses]]] = {
        name: (f"Universal Robots' Denavit-Hartenberg table of the {tag}", _universal(d_m, a_m))
        for name, tag, d_m, a_m in _UNIVERSAL
    }
    if args.robosuite:
        robots = args.robosuite / "models" / "assets" / "robots"
        for name, base, links in (
            ("panda", "base", ("link4", "link7")),
            ("xarm7", "base", ("link4", "link7")),
        ):
            model = _compile(robots / name / "robot.xml")
            joints = [f"joint{i}" for i in range(1, 8)]
            models[name] = (f"robosuite 1.5.2, robots/{name}/robot.xml", _reader(model, base, joints, links))
        for name, folder, joint, first, links, prefix in _ROBOSUITE:
            model = _compile(robots / folder / "robot.xml")
            joints = [f"{joint}{i}" for i in range(first, first + 7)]
            read = _reader(model, "base", joints, links, prefix)
            models[name] = (f"robosuite 1.5.2, robots/{folder}/robot.xml", read)
    if args.menagerie:
        for name, path, base, joint, count, links, prefix in _MENAGERIE:
            joints = [f"{joint}{i}" for i in range(1, count + 1)]
            read = _reader(_compile(args.menagerie / path), base, joints, links, prefix)
            models[name] = (f"mujoco_menagerie, {path}", read)
    if args.gym_aloha:
        model = _compile(args.gym_aloha / "assets" / "vx300s_left.xml")
        names = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
        links = ("upper_forearm_link", "gripper_link")
        read = _reader(model, "vx300s_left", [f"vx300s_left/{n}" for n in names], links, "vx300s_left/")
        models["aloha"] = models["viperx"] = ("gym-aloha 0.1.5, assets/vx300s_left.xml", read)
    if args.so101:
        names = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
        read = _reader(_compile(args.so101), "base", names, ("lower_arm", "gripper"))
        models["so101"] = ("SO-ARM100, so101_new_calib.xml", read)
    if args.wx250s:
        names = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
        read = _reader(_compile(args.wx250s), "base_link", names, ("upper_forearm_link", "gripper_link"))
        models["widowx"] = ("Interbotix wx250s.urdf", read)
    if spec := find_spec("metaworld"):
        path = Path(str(spec.origin)).parent / "assets" / "objects" / "assets" / "xyz_base.xml"
        read = _reader(
            _compile(path), "base", [f"right_j{i}" for i in range(7)], ("right_l3", "right_l6", "hand")
        )
        models["sawyer_metaworld"] = ("metaworld 3.1.1, objects/assets/xyz_base.xml", read)
    return models


def _compile(path: Path) -> mujoco.MjModel:
    """The bodies and joints of an MJCF, an MJCF fragment or a URDF, without shapes and what needs them."""
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
    else:
        if root.tag == "mujocoinclude":
            world = ET.Element("worldbody")
            world.extend([child for child in root if child.tag == "body"])
            root = ET.Element("mujoco")
            ET.SubElement(root, "compiler", angle="radian")
            root.append(world)
        for body in root.iter("body"):
            _give_mass(body, urdf=False)
    return mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))


def _give_mass(body: ET.Element, *, urdf: bool) -> None:
    """MuJoCo wants an inertia on every moving body; any will do, for poses do not depend on it."""
    inertial = ET.SubElement(body, "inertial")
    if urdf:
        ET.SubElement(inertial, "mass", value="1")
        ET.SubElement(inertial, "inertia", ixx="1", iyy="1", izz="1", ixy="0", ixz="0", iyz="0")
    else:
        inertial.attrib.update(pos="0 0 0", mass="1", diaginertia="1 1 1")


def _reader(
    model: mujoco.MjModel, base: str, joints: object, links: tuple[str, ...], prefix: str = ""
) -> Callable[[np.ndarray], Poses]:
    data = mujoco.MjData(model)
    addresses = [int(model.joint(name).qposadr[0]) for name in joints]  # type: ignore[attr-defined]

    def pose(body: str) -> np.ndarray:
        if model.nbody and body not in [model.body(i).name for i in range(model.nbody)]:
            return np.eye(4)  # a URDF's root link becomes the world
        T_world_body = np.eye(4)
        T_world_body[:3, :3] = data.body(body).xmat.reshape(3, 3)
        T_world_body[:3, 3] = data.body(body).xpos
        return T_world_body

    def read(q: np.ndarray) -> Poses:
        data.qpos[addresses] = q
        mujoco.mj_kinematics(model, data)
        T_base_world = np.linalg.inv(pose(base))
        return {link: T_base_world @ pose(prefix + link) for link in links}

    return read


def _universal(d_m: tuple[float, ...], a_m: tuple[float, ...]) -> Callable[[np.ndarray], Poses]:
    """Classic Denavit-Hartenberg product; the tables are Universal Robots' own. `hand` sits on the flange."""
    alpha = (np.pi / 2, 0, 0, np.pi / 2, -np.pi / 2, 0)

    def read(q: np.ndarray) -> Poses:
        T = np.eye(4)
        for theta, d, a, twist in zip(q, d_m, a_m, alpha):
            c, s, ct, st = np.cos(theta), np.sin(theta), np.cos(twist), np.sin(twist)
            T = T @ [[c, -s * ct, s * st, a * c], [s, c * ct, -c * st, a * s], [0, st, ct, d], [0, 0, 0, 1]]
        return {"hand": T}

    return read


def _samples(card_name: str, links: Callable[[np.ndarray], Poses]) -> list[dict[str, object]]:
    card = load_card(card_name)
    arm = arm_of(card, card.arms[0].side)
    low, high = np.array([joint.range for joint in arm.joints]).T
    rng = np.random.default_rng(7)
    samples = []
    for _ in range(SAMPLES):
        q = np.round(rng.uniform(low, high), 5)
        poses = {name: np.round(T[:3], 6).tolist() for name, T in links(q).items()}
        samples.append({"q": q.tolist(), "links": poses})
    return samples


if __name__ == "__main__":
    main()
