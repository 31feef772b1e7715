"""Recipes by name. Nothing imports this package but the command line and tests."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from kinema.recipes.debug import debug
from kinema.recipes.detector import DetectorRecipe, nano_detector
from kinema.recipes.gate import GateRecipe, nano_gate
from kinema.recipes.inverse import InverseRecipe, nano_inverse
from kinema.recipes.nano import nano_metaworld, nano_mixed, nano_tabletop
from kinema.recipes.recipe import Recipe
from kinema.recipes.study import (
    study_base,
    study_joint_mask,
    study_no_pointing,
    study_read_mask,
    study_real10,
    study_real10_dreams,
)
from kinema.schema import KinemaError

RECIPES: dict[str, Callable[[], Recipe]] = {
    "debug": debug,
    "nano_tabletop": nano_tabletop,
    "nano_metaworld": nano_metaworld,
    "nano_mixed": nano_mixed,
    "study_base": study_base,
    "study_no_pointing": study_no_pointing,
    "study_joint_mask": study_joint_mask,
    "study_read_mask": study_read_mask,
    "study_real10": study_real10,
    "study_real10_dreams": study_real10_dreams,
}
# What is trained to judge motion and not to make it.
GATES: dict[str, Callable[[], GateRecipe]] = {"nano_gate": nano_gate}
# What is trained to read films.
INVERSES: dict[str, Callable[[], InverseRecipe]] = {"nano_inverse": nano_inverse}
# What is trained to judge films.
DETECTORS: dict[str, Callable[[], DetectorRecipe]] = {"nano_detector": nano_detector}
# The world models' parts, in `kinema.recipes.world` and `.scene2robot`: imported only when asked for, since
# they need diffusers.
STARTED = ("nano_vae", "nano_scene2robot_vae", "nano_world", "nano_world_text")  # can start from weights
WORLDS = (*STARTED, "nano_scene2robot")


def get(name: str) -> Recipe:
    """The recipe of this name. Raises KinemaError naming the nearest ones."""
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, n=2, cutoff=0.3) or list(RECIPES)
        raise KinemaError(f"unknown recipe {name!r}; did you mean {near}? All: {list(RECIPES)}")
    return RECIPES[name]()
