"""Settings that must stand before MuJoCo and the numeric libraries are imported."""

import os
import sys

if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo's own default needs a screen
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests run in one process per core
