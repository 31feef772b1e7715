"""Simulated worlds, their experts and their demonstrations. Needs mujoco; never torch."""

import os
import sys

# MuJoCo picks its OpenGL platform when it is first imported; without a display only EGL can render.
if sys.platform == "linux" and "DISPLAY" not in os.environ:
    os.environ.setdefault("MUJOCO_GL", "egl")

from kinema.worlds.tabletop.env import DYNAMIC, FAMILIES, TabletopEnv, families_for
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.variation import AXES, SEEN, Variation

__all__ = ["AXES", "DYNAMIC", "FAMILIES", "SEEN", "Expert", "TabletopEnv", "Variation", "families_for"]
