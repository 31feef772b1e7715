"""Settings that must stand before MuJoCo and the numeric libraries are imported, and for all laws."""

import os
import sys

if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo's own default needs a screen
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests run in one process per core

import hypothesis

# A busy machine is no fault of the code, and the same code gives the same verdict every time.
hypothesis.settings.register_profile("kinema", deadline=None, derandomize=True)
hypothesis.settings.load_profile("kinema")
