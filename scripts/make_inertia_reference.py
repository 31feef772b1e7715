"""Recompute tests/card/inertia_reference.json: the diagonals of the makers' mass matrices at home.

    python scripts/make_inertia_reference.py DIR

DIR holds the models under the names in `_MODELS`. Only the arm's own moving links count: bases never move,
and the grippers are often not the model's. A model that is not there is left as it is in the file.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import mujoco
import numpy as np

from kinema.card.kinematics import home_joints
from kinema.card.load import load_card

REFERENCE = Path(__file__).parent.parent / "tests" / "card" / "inertia_reference.json"

# The card's arm links by the model's; what the model's file is.
_MODELS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "panda": (
        "panda.urdf", "panda_description of example-robot-data 6.0.0",
        tuple(f"panda_link{i}" for i in range(1, 8)),
    ),
    "g1": (
        "g1_29dof_rev_1_0_with_inspire_hand_DFQ.urdf", "unitreerobotics/unitree_ros d6f13aa (left arm)",
        tuple(f"left_{name}_link" for name in (
            "shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow",
            "wrist_roll", "wrist_pitch", "wrist_yaw",
        )),
    ),
    "so101": (
        "so101.urdf", "TheRobotStudio/SO-ARM100, Simulation/SO101/so101_new_calib.urdf",
        ("shoulder_link", "upper_arm_link", "lower_arm_link", "wrist_link", "gripper_link"),
    ),
    "yam": (
        "yam.urdf", "i2rt-robotics/i2rt, robot_models/arm/yam/yam.urdf (links 1 to 5)",
        tuple(f"link{i}" for i in range(1, 6)),
    ),
    "xarm7": (
        "xarm7.xml", "robots/xarm7/robot.xml of robosuite 1.5.2",
        tuple(f"link{i}" for i in range(1, 8)),
    ),
    "sawyer": (
        "sawyer.xml", "robots/sawyer/robot.xml of robosuite 1.5.2",
        tuple(f"right_l{i}" for i in range(7)),
    ),
    "kinova_gen3": (
        "kinova3.xml", "robots/kinova3/robot.xml of robosuite 1.5.2",
        ("shoulder_link", "HalfArm1_Link", "HalfArm2_Link", "forearm_link", "SphericalWrist1_Link",
         "SphericalWrist2_Link", "Bracelet_Link"),
    ),
    "jaco": (
        "jaco.xml", "robots/jaco/robot.xml of robosuite 1.5.2 (links 1 to 6)",
        tuple(f"j2s7s300_link_{i}" for i in range(1, 7)),
    ),
}  # fmt: skip


def _compiled(path: Path) -> mujoco.MjModel:
    """The model without what is only seen: meshes are not needed for the masses."""
    text = path.read_text()
    text = re.sub(r"<(visual|collision)\b[^>]*>.*?</\1>", "", text, flags=re.S)
    text = re.sub(r"<(geom|camera|site|mesh|texture|material)\b[^>]*/>", "", text)
    text = re.sub(r"<(actuator|asset|sensor|contact)\b[^>]*>.*?</\1>", "", text, flags=re.S)
    if "<robot" in text:
        text = re.sub(r"<mujoco>.*?</mujoco>", "", text, flags=re.S)
        text = re.sub(
            r"(<robot\b[^>]*>)", r'\1<mujoco><compiler fusestatic="false"/></mujoco>', text, count=1
        )
    return mujoco.MjModel.from_xml_string(text)


def diagonal(model: mujoco.MjModel, links: tuple[str, ...], joints: np.ndarray) -> list[float]:
    """Of the mass matrix (N,) with only these links' masses, without what drives add."""
    keep = {model.body(name).id for name in links}
    for body in range(1, model.nbody):
        if body not in keep:
            model.body_mass[body], model.body_inertia[body] = 1e-9, 1e-12
    model.dof_armature[:] = 0.0
    data = mujoco.MjData(model)
    mine = [model.body_jntadr[model.body(name).id] for name in links]
    for joint, value in zip(mine, joints):
        data.qpos[model.jnt_qposadr[joint]] = value
    mujoco.mj_setConst(model, mujoco.MjData(model))
    mujoco.mj_forward(model, data)
    full = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, full, data.qM)
    return [float(f"{full[model.jnt_dofadr[j], model.jnt_dofadr[j]]:.5g}") for j in mine]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path)
    folder = parser.parse_args().models
    found = json.loads(REFERENCE.read_text()) if REFERENCE.exists() else {}
    for card, (file, made_from, links) in _MODELS.items():
        if not (folder / file).is_file():
            continue
        home = home_joints(load_card(card).arms[0])
        found[card] = {
            "made_from": made_from,
            "diagonal": diagonal(_compiled(folder / file), links, home[: len(links)]),
        }
    REFERENCE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
