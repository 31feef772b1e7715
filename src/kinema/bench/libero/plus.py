"""LIBERO-Plus (arXiv 2510.13626): thousands of tasks, in each of which one thing is changed.

A task's name says what: camera, robot and noise stand in fixed fields of it, all but one of them at rest.
"""

from __future__ import annotations

import re

from kinema.bench.own_environment import OwnEnvironment

PLUS = OwnEnvironment(
    benchmark="LIBERO-Plus",
    variable="KINEMA_LIBERO_PLUS",
    folder=".venv-libero-plus",
    script="scripts/setup_libero.sh --plus",
    target="kinema.bench.libero.plus_simulation:LiberoPlusSimulation",
)
# Each axis, and what of the package's own download it stands on; the others do with LIBERO's assets.
AXES = {
    "camera": None,
    "robot": None,
    "language": None,
    "noise": None,
    "light": "scenes/lights",
    "background": "scenes/tabletop250",
    "layout": "new_objects",
}
_VIEWED = re.compile(
    r"(?P<language>_language_\d+)?_view_(?P<view>\d+_\d+_\d+_\d+_\d+)_initstate_(?P<robot>\d+)"
    r"(?:_noise_(?P<noise>\d+))?$"
)
_AT_REST = "0_0_100_0_0"
_OTHERS = {
    "light": re.compile(r"_light_\d+$"),
    "background": re.compile(r"_(?:table|tb)_\d+$"),
    "layout": re.compile(r"_add_\d+$|(?:_moved)?_level\d+_sample\d+$"),
}


def changed(name: str) -> tuple[str, str] | None:
    """A task's name without what is changed in it, and which axis that is; None where nothing is."""
    if found := _VIEWED.search(name):
        axes = {
            "language": found["language"],
            "noise": int(found["noise"] or 0),
            "robot": int(found["robot"]),
            "camera": found["view"] != _AT_REST,
        }
        return name[: found.start()], next((axis for axis, there in axes.items() if there), "camera")
    for axis, pattern in _OTHERS.items():
        if found := pattern.search(name):
            return name[: found.start()], axis
    return None
