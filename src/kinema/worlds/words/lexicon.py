"""The words of the grammar: names of kinds, colours and picks, those of training and those held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kinema.worlds.words.reference import PICKS


@dataclass(frozen=True)
class Ways:
    """Of saying one thing: in training, and held out, which training never says."""

    seen: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    def all(self) -> tuple[str, ...]:
        return self.seen + self.held_out


def _named(**names: str) -> dict[str, Ways]:
    """Names with commas between; held-out ones behind a bar."""
    found = {}
    for key, text in names.items():
        seen, _, held_out = text.partition("|")
        found[key.replace("_", " ")] = Ways(_split(seen), _split(held_out))
    return found


def _split(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


KINDS: Mapping[str, Ways] = _named(
    # what lies on a table
    block="block, cube | brick", ball="ball", mug="mug | cup", bottle="bottle | flask", can="can | tin",
    jar="jar | pot", glass="glass | tumbler", teapot="teapot", book="book | volume", apple="apple",
    banana="banana", pear="pear", lemon="lemon", tomato="tomato", carrot="carrot",
    eggplant="eggplant | aubergine", egg="egg", mushroom="mushroom", strawberry="strawberry",
    bread="bread, loaf of bread | loaf",
    cheese="cheese, piece of cheese", donut="donut | doughnut", cookie="cookie | biscuit",
    milk="milk carton, carton of milk | milk", spoon="spoon", fork="fork", screwdriver="screwdriver",
    hammer="hammer", wrench="wrench | spanner", brush="brush | paintbrush", marker="marker | felt pen",
    pencil="pencil", eraser="eraser | rubber", stapler="stapler", tape="tape, roll of tape", sponge="sponge",
    soap="soap, bar of soap", key="key", padlock="padlock | lock", battery="battery", candle="candle",
    die="die", phone="phone | mobile phone", remote="remote control | remote", camera="camera",
    clock="clock | alarm clock", car="toy car | car", house="toy house | house", duck="rubber duck | duck",
    spool="spool of thread | reel of thread", flashlight="flashlight | torch", dumbbell="dumbbell | weight",
    soccer_ball="soccer ball | football", basketball="basketball", hockey_puck="hockey puck | puck",
    golf_club="golf club | putter", thermos="thermos, thermos flask | vacuum flask", plug="plug | power plug",
    laptop="laptop | notebook computer", coffee_machine="coffee machine | coffee maker",
    # where things go, and what is worked
    bowl="bowl", plate="plate | dish", tray="tray", basket="basket", box="box | carton",
    area="area, spot | zone", button="button", drawer="drawer",
)  # fmt: skip

COLORS: Mapping[str, Ways] = _named(
    red="red", orange="orange", yellow="yellow", green="green", turquoise="turquoise | teal", blue="blue",
    purple="purple | violet", pink="pink", brown="brown", black="black", gray="gray | grey", white="white",
)  # fmt: skip

# Of two things, and of more.
PICKS_OF_TWO: Mapping[str, Ways] = _named(
    left="left | left-hand", right="right | right-hand", near="nearer | closer", far="farther | more distant",
    small="smaller | littler", big="bigger | larger",
)  # fmt: skip
PICKS_OF_MANY: Mapping[str, Ways] = _named(
    left="leftmost | furthest left", right="rightmost | furthest right", near="nearest | closest",
    far="farthest | most distant", small="smallest | littlest", big="biggest | largest",
)  # fmt: skip
assert tuple(PICKS_OF_TWO) == tuple(PICKS_OF_MANY) == PICKS

_UNCOUNTED = ("bread", "cheese", "soap", "tape", "milk")


def plural(name: str) -> str:
    """Of a kind's name: "boxes", "rolls of tape"."""
    head, of, rest = name.partition(" of ")
    if head in _UNCOUNTED:
        return head
    if head.endswith("y") and head[-2] not in "aeiou":
        return f"{head[:-1]}ies{of}{rest}"
    if head == "loaf":
        return f"loaves{of}{rest}"
    if head == "die":
        return "dice"
    return head + ("es" if head.endswith(("s", "x", "ch", "sh", "o")) else "s") + of + rest
