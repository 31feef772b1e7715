"""The ROS node's own tests, against real rclpy, where an environment for them was made."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("KINEMA_ROS") or ROOT / ".venv-ros") / "bin" / "python"


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(
    not PYTHON.is_file(), reason=f"no {PYTHON}; scripts/setup_ros.sh makes it, KINEMA_ROS names its folder"
)
def test_the_node_over_real_rclpy() -> None:
    package = ROOT / "ros2" / "kinema_ros"
    path = os.pathsep.join([str(ROOT / "src"), str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [PYTHON, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", package / "test"],
        cwd=package, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
