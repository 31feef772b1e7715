"""Recipes by name. Nothing imports this package but the command line and tests."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from kinema.schema import KinemaError
from kinema.train.recipe import Recipe

# By module, which is imported only when it is asked for: the world models' need diffusers.
_MODULES = {
    "debug": ("debug", "base"),
    "finetune": ("finetune",),
    "nano": (
        "nano", "nano_tabletop", "nano_metaworld", "nano_metaworld_look", "nano_libero", "nano_aloha",
        "nano_simpler", "nano_navigation", "nano_mixed",
    ),
    "perception": ("nano_gate", "nano_inverse", "nano_detector", "nano_step_check"),
    "world": ("nano_vae", "nano_world", "nano_world_text"),
    "scene2robot": ("nano_scene2robot_vae", "nano_scene2robot"),
    "t2a": ("nano_t2a",),
    "cpt": ("nano_cpt", "nano_sft", "nano_ask"),
    "study": (
        "study_base", "study_no_pointing", "study_joint_mask", "study_read_mask", "study_real10",
        "study_real10_dreams",
    ),
}  # fmt: skip
RECIPES = {name: module for module, names in _MODULES.items() for name in names}
_POLICIES = ("debug", "finetune", "nano", "study", "cpt")


def get(name: str) -> Recipe:
    """The recipe of this name. Raises KinemaError naming the nearest ones."""
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, n=2, cutoff=0.3) or list(RECIPES)
        raise KinemaError(f"unknown recipe {name!r}; did you mean {near}? All: {list(RECIPES)}")
    recipe: Recipe = getattr(import_module(f"kinema.recipes.{RECIPES[name]}"), name)()
    return recipe


def is_policy(name: str) -> bool:
    """Whether what this recipe trains can act, and so be judged in the worlds."""
    return RECIPES[name] in _POLICIES
