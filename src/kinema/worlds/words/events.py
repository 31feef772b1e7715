"""What happened in an episode: grasped, lifted, let go, placed, pushed, pressed, opened, raised.

`Watcher` reads it from the true state while an episode is played.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from kinema.schema import KinemaError
from kinema.worlds.road.goals import read_goal
from kinema.worlds.tabletop.env import DYNAMIC, TabletopEnv
from kinema.worlds.tabletop.experts.motion import SECURE_N
from kinema.worlds.tabletop.families import family_named
from kinema.worlds.tabletop.parse import parse_instruction
from kinema.worlds.tabletop.sentence import Request
from kinema.worlds.variation import COLORS, LOOKS, UNNAMED_COLORS

KINDS = (
    "grasp", "lift", "release", "place", "push", "arrive", "press", "open", "close", "raise",
    "turn", "change", "follow", "stop",
)  # fmt: skip
_DONE = {
    "pick_place": "place", "stack": "place", "push": "arrive", "button": "press", "lift_two_arms": "raise",
    "tidy": "place", **dict.fromkeys(DYNAMIC, "place"),
}  # fmt: skip
CARRIES = ("pick_place", "stack", "tidy", *DYNAMIC)  # families in which things are taken and let go
LIFT_M = 0.02
_FLEETING = 3  # steps


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened. `side`: the arm that did it, empty where none or any did."""

    step: int
    kind: str
    thing: str = ""
    place: str = ""
    side: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise KinemaError(f"unknown event {self.kind!r}; choices: {', '.join(KINDS)}")


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What a sentence asks for, in the nouns of the captions; empty where it does not say."""

    family: str = ""
    thing: str = ""
    place: str = ""
    opens: bool = True

    @classmethod
    def of(cls, instruction: str) -> Aim:
        """Reads a sentence of the tabletop; any other sentence gives an aim without names."""
        request = _understood(instruction)
        if request is None:
            goal = read_goal(instruction)
            return cls(family=f"road/{goal.name}", thing=goal.thing) if goal else cls()
        if request.command is not None:
            named = request.command.thing, request.command.place
            # What lies beside it is left out: whoever reads a caption would take it for what moved.
            thing, place = (str(replace(told, near=None)) if told else "" for told in named)
        else:
            thing, place = family_named(request.family).named(request.thing, request.place, request.kind)
            if not _names_only(instruction, thing, place):
                return cls()  # another world's sentence, of which a part was understood
        return cls(family=request.family, thing=thing, place=place, opens=request.kind != "close")

    @property
    def done(self) -> str:
        """The kind of event with which it is reached."""
        return ("open" if self.opens else "close") if self.family == "drawer" else _DONE.get(self.family, "")


def _understood(instruction: str) -> Request | None:
    for look in LOOKS:
        try:
            return parse_instruction(instruction, look)
        except KinemaError:
            continue
    return None


NOUNS = ("car", "block", "ball", "bowl", "plate", "area", "button", "drawer", "tray", "box")
THING = re.compile(rf"\b(?:({'|'.join([*COLORS, *UNNAMED_COLORS])}) )?({'|'.join(NOUNS)})\b")


def _names_only(instruction: str, *known: str) -> bool:
    nouns = {name.split()[-1] for name in known if name}
    return all(
        f"{color} {noun}" in known if color else noun in nouns for color, noun in THING.findall(instruction)
    )


class Watcher:
    """Collects the events of one tabletop episode. Ask `look` before every step, and once after the last."""

    def __init__(self, env: TabletopEnv) -> None:
        self._env, self._aim, self._step = env, Aim.of(env.instruction), 0
        self._held: dict[str, str] = {}
        self._lifted: set[str] = set()
        self._inside: set[str] = set()
        self._start = {block.name: block.position(env.scene.data) for block in self._blocks()}
        self._done = False
        self._seen: list[Event] = []

    @property
    def events(self) -> tuple[Event, ...]:
        """What happened so far, without grips that were lost at once."""
        kept: list[Event] = []
        for event in self._seen:
            last = kept[-1] if kept else None
            if (
                event.kind == "release"
                and last
                and last.kind == "grasp"
                and event.step - last.step < _FLEETING
            ):
                kept.pop()
            else:
                kept.append(event)
        return tuple(kept)

    def look(self) -> None:
        """Compare the present state with the one before."""
        if self._aim.family in CARRIES:
            for block in self._blocks():
                self._look_at_block(block)
        if self._aim.family == "push":
            self._look_for_push()
        if self._aim.family != "tidy" and not self._done and self._env.success():
            self._done = True
            self._add(self._aim.done, self._aim.thing, self._aim.place)
        self._step += 1

    def _blocks(self) -> list:
        return [b for b in getattr(self._env.task, "blocks", []) if not b.parked]

    def _look_at_block(self, block) -> None:  # type: ignore[no-untyped-def]
        scene, name, thing = self._env.scene, block.name, f"{block.color} {block.noun}"
        squeezed = [h.side for h in scene.robot.arms if scene.pinch_n(block.body, h.side) > SECURE_N]
        if squeezed and name not in self._held:
            self._held[name] = squeezed[0]
            self._add("grasp", thing, side=squeezed[0])
        elif name in self._held and not squeezed and not scene.touched(block.body):
            self._add("release", thing, side=self._held.pop(name))
            self._lifted.discard(name)
        height = block.position(scene.data)[2] - self._start[name][2]
        if name in self._held and name not in self._lifted and height > LIFT_M:
            self._lifted.add(name)
            self._add("lift", thing, side=self._held[name])
        loose = name not in self._held and name not in self._inside
        if self._aim.family == "tidy" and loose and self._env.task.inside(scene, block):  # type: ignore[attr-defined]
            self._inside.add(name)
            self._add("place", thing, self._aim.place)

    def _look_for_push(self) -> None:
        block = self._env.task.target  # type: ignore[attr-defined]
        moved = block.position(self._env.scene.data) - self._start[block.name]
        if np.linalg.norm(moved[:2]) > 0.01 and all(event.kind != "push" for event in self._seen):
            self._add("push", f"{block.color} {block.noun}", side="right")

    def _add(self, kind: str, thing: str, place: str = "", side: str = "") -> None:
        self._seen.append(Event(step=self._step, kind=kind, thing=thing, place=place, side=side))
