"""Which OpenGL MuJoCo draws with."""

from __future__ import annotations

import os
import platform


def prefer_egl() -> None:
    """EGL unless the user said otherwise: MuJoCo's default needs a screen. Only Linux has it."""
    if platform.system() == "Linux":  # asked as MuJoCo asks
        os.environ.setdefault("MUJOCO_GL", "egl")
