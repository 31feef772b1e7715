"""Task families, one file each: what is on the table, what is asked, when it is done, how an expert does it,
what can be seen of it, and which sentences ask for it."""

from __future__ import annotations

from kinema.worlds.tabletop.families.button import PressButton
from kinema.worlds.tabletop.families.drawer import Drawer
from kinema.worlds.tabletop.families.dynamic import FromBelt, Rolling, Sliding
from kinema.worlds.tabletop.families.lift import LiftTwoArms
from kinema.worlds.tabletop.families.pick_place import PickPlace
from kinema.worlds.tabletop.families.push import Push
from kinema.worlds.tabletop.families.put_things import PutThings
from kinema.worlds.tabletop.families.stack import Stack
from kinema.worlds.tabletop.families.tidy import Tidy
from kinema.worlds.tabletop.family import Family

FAMILIES: tuple[type[Family], ...] = (PickPlace, Stack, Push, Drawer, PressButton, LiftTwoArms, Tidy)
# Things that move: a set of its own, which is played where it is named and is no part of "all families".
DYNAMIC: tuple[type[Family], ...] = (FromBelt, Rolling, Sliding)

_WIDE: tuple[type[Family], ...] = (PutThings,)  # instead of those of the same name, in the wide look


def family_named(name: str, is_wide: bool = False) -> type[Family]:
    choices = (*_WIDE, *FAMILIES, *DYNAMIC) if is_wide else (*FAMILIES, *DYNAMIC)
    return next(family for family in choices if family.name == name)
