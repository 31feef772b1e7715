"""Folders that lerobot runs, of the shipped policy: for an environment, and for a robot in degrees."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from lerobot.utils.import_utils import register_third_party_plugins
from lerobot_policy_kinema.folder import card_of, write

from kinema.commands.policies import artifact_folder
from kinema.runtime.lerobot_robots import make
from kinema.runtime.wiring_file import read_wiring

WIRING = """\
version: 1
card: ur5e
channels:
  shoulder_pan: {unit: deg}
  shoulder_lift: {unit: deg}
  elbow: {unit: deg}
  wrist_1: {unit: deg}
  wrist_2: {unit: deg}
  wrist_3: {unit: deg}
  gripper: {unit: percent}
cameras: {front: overview, wrist: hand}
"""


@pytest.fixture(scope="session", autouse=True)
def _plugins() -> None:
    register_third_party_plugins()  # as every command of lerobot begins


@pytest.fixture(scope="session")
def nano() -> Path:
    return artifact_folder("nano").resolve()


@pytest.fixture(scope="session")
def for_env(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lerobot") / "panda"
    write(nano, out, card_of(nano, "panda"))
    return out


@pytest.fixture(scope="session")
def wiring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wiring") / "wiring.yaml"
    path.write_text(WIRING)
    return path


@pytest.fixture(scope="session")
def for_robot(nano: Path, wiring: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, card = tmp_path_factory.mktemp("lerobot") / "ur5e", card_of(nano, "ur5e")
    write(nano, out, card, robot=make("tabletop", {}), told=read_wiring(wiring, card))
    return out
