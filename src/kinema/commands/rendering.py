"""Whether the simulator can draw here, found out before hours of work begin and in one place."""

from __future__ import annotations

import os
import re
import traceback
from functools import lru_cache

from kinema import doctor
from kinema.schema import KinemaError

_DRAWING = re.compile(r"/OpenGL/|/mujoco/(gl_context|renderer|egl|osmesa|glfw|cgl|wgl|rendering)\b")


def require_rendering() -> None:
    """Raises KinemaError with the fault, the setting and the line that mends it.

    A picture is drawn for real, in a process of its own: a broken driver ends the process that uses it.
    """
    finding = _found(os.environ.get("MUJOCO_GL"))
    if finding.level is doctor.Level.MISSING and "No module named" not in finding.detail:
        raise KinemaError(
            f"the simulator cannot draw here: {finding.detail}; to mend it: {finding.remedy} "
            "(`kinema doctor` looks at the rest of this machine)"
        )


def is_about_drawing(error: BaseException) -> bool:
    """Whether an error comes from where MuJoCo looks for OpenGL, which it does when it is imported."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(_DRAWING.search(frame.filename.replace("\\", "/")) for frame in frames)


@lru_cache
def _found(setting: str | None) -> doctor.Finding:
    return doctor.rendering()
