"""Simulated worlds, their experts and their demonstrations. Needs mujoco; never torch."""

from kinema.worlds.experts.expert import Expert
from kinema.worlds.tabletop.env import FAMILIES, TabletopEnv, families_for
from kinema.worlds.variation import AXES, SEEN, Variation

__all__ = ["AXES", "FAMILIES", "SEEN", "Expert", "TabletopEnv", "Variation", "families_for"]
