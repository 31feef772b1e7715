"""Questions about a picture of the tabletop, and their answers, from the state of the world.

Left and right are the picture's, near is near the robot; only what is clearly seen is asked about, and where
an answer would hang on a few pixels or millimetres nothing is asked. Coordinates are fractions of the
picture, from its upper left corner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kinema.worlds import wide
from kinema.worlds.cameras import Cameras
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.experts.motion import SECURE_N
from kinema.worlds.tabletop.family import Thing
from kinema.worlds.variation import COLORS
from kinema.worlds.words.lexicon import plural
from kinema.worlds.words.reference import CLEAR_M, CLEAR_RATIO

_CLEARLY_SEEN = 7e-4  # of a picture's pixels
_APART, _ALIKE = 0.06, 0.02  # of the picture's width: clearly beside one another; as good as in one column
_COLORED = frozenset((*COLORS, *wide.COLORS))
_NOTHING = 0.7  # of the times that there would be nothing to tell nothing is asked
_SIDES = {"left": -1.0, "right": 1.0}
Box = tuple[float, float, float, float]  # u and v of two corners


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A thing as a picture shows it. uv: the point that stands for it; forward_m: from the robot."""

    name: str
    uv: tuple[float, float]
    box: Box
    forward_m: float
    size_m: float

    @property
    def color(self) -> str:
        """Empty where its name has none."""
        first, _, rest = self.name.partition(" ")
        return first if rest and first in _COLORED else ""

    @property
    def kind(self) -> str:
        return self.name.removeprefix(self.color).strip()


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture, uint8 (S, S, 3), and what is known of it.

    seen: the things that are clearly seen; hardly: names of those of which a few pixels are
    palette: colours that things may have here; held: the name of what a gripper holds, empty for nothing
    doing: what the robot does, in words, empty where they would be a guess
    """

    image: np.ndarray
    seen: Sequence[Seen]
    hardly: Sequence[str] = ()
    palette: Sequence[str] = ()
    held: str = ""
    doing: str = ""

    def alone(self) -> list[Seen]:
        """Things whose names mean one of them."""
        names = [*(one.name for one in self.seen), *self.hardly]
        return [one for one in self.seen if names.count(one.name) == 1]


@dataclass(frozen=True, kw_only=True)
class Question:
    """kind: one of KINDS; box: of the thing that is pointed at"""

    kind: str
    question: str
    answer: str
    box: Box | None = None


class Viewer:
    """Takes pictures of one environment with the first camera that does not move. Close it."""

    def __init__(self, env: TabletopEnv) -> None:
        self._env = env
        name = next(c.name for c in env.card.cameras if c.mount == "world")
        self._cameras = Cameras(env.scene.model, [name], env.image_size)

    def view(self, *, waits: bool) -> View:
        """waits: whether the robot has not been told to move yet"""
        env, data = self._env, self._env.scene.data
        (image,), (shown,) = self._cameras.pictures(data), self._cameras.outlines(data)
        things = env.things()
        (points,) = self._cameras.project(data, np.stack([thing.point_m for thing in things]))
        seen, hardly = [], []
        for thing, uv in zip(things, points):
            mask = np.isin(shown[..., 0], thing.geoms)
            if mask.sum() >= _CLEARLY_SEEN * mask.size:
                seen.append(self._seen(thing, mask, uv))
            elif mask.any():
                hardly.append(_named(thing))
        held = self._held()
        doing = "waiting" if waits else f"holding the {held}" if held else ""
        palette = tuple(wide.COLORS if env.variation.is_wide else COLORS)
        return View(image=image, seen=seen, hardly=hardly, palette=palette, held=held, doing=doing)

    def _seen(self, thing: Thing, mask: np.ndarray, uv: np.ndarray) -> Seen:
        side = len(mask)
        rows, columns = np.nonzero(mask)
        u, v, is_inside = uv.tolist()
        if not is_inside or not mask[min(int(v * side), side - 1), min(int(u * side), side - 1)]:
            nearest = np.argmin(np.hypot(columns - columns.mean(), rows - rows.mean()))
            u, v = (
                (columns[nearest] + 0.5) / side,
                (rows[nearest] + 0.5) / side,
            )  # hidden there: a point of it
        box = (columns.min() / side, rows.min() / side, (columns.max() + 1) / side, (rows.max() + 1) / side)
        place_m = self._env.scene.sight(thing.name, thing.point_m, thing.size_m).place_m
        return Seen(
            name=_named(thing), uv=(float(u), float(v)), box=tuple(map(float, box)),  # type: ignore[arg-type]
            forward_m=place_m[0], size_m=thing.size_m,
        )  # fmt: skip

    def _held(self) -> str:
        scene = self._env.scene
        for block in self._env.task.free_blocks():
            if any(scene.pinch_n(block.body, arm.side) > SECURE_N for arm in scene.robot.arms):
                return f"{block.color} {block.noun}".strip()
        return ""

    def close(self) -> None:
        self._cameras.close()


def _named(thing: Thing) -> str:
    return thing.name.replace("pressed button", "button")


def questions(view: View, rng: np.random.Generator, each: int = 1) -> list[Question]:
    """At most so many of each kind, none of them twice."""
    found: dict[Question, None] = {}
    for kind, ask in KINDS.items():
        for _ in range(each):
            if options := list(ask(view, rng)):
                question, answer, *more = options[rng.integers(len(options))]
                box = more[0] if more else None
                found[Question(kind=kind, question=question, answer=answer, box=box)] = None
    return list(found)


def _said(rng: np.random.Generator, *ways: str) -> str:
    return ways[rng.integers(len(ways))]


def _overlap(one: Seen, other: Seen) -> bool:
    """Whether one lies before, behind or in the other."""
    (a, b, c, d), (e, f, g, h) = one.box, other.box
    return min(c, g) > max(a, e) and min(d, h) > max(b, f)


def _exists(view: View, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    there = sorted({one.name for one in view.seen if one.color})
    kinds = sorted({one.kind for one in view.seen if one.color})
    absent = {f"{color} {kind}" for color in view.palette for kind in kinds} - {*there, *view.hardly}
    answer = _said(rng, "yes", "no")
    names = there if answer == "yes" else sorted(absent)
    if not names:
        return
    name = _said(rng, *names)
    article = "an" if name[0] in "aeiou" else "a"
    yield _said(rng, f"is there {article} {name}?", f"do you see {article} {name}?"), answer


def _count(view: View, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    unsure = {name.split()[-1] for name in view.hardly}
    for kind in sorted({one.kind for one in view.seen}):
        if kind.split()[-1] not in unsure:
            many = plural(kind)
            count = sum(one.kind == kind for one in view.seen)
            yield _said(rng, f"how many {many} are there?", f"count the {many}"), str(count)
    if not view.hardly:
        color = _said(rng, *view.palette)
        count = sum(one.color == color for one in view.seen)
        yield f"how many {color} things are there?", str(count)


def _color(view: View, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    kinds = [*(one.kind for one in view.seen), *(name.split()[-1] for name in view.hardly)]
    for one in view.seen:
        if one.color and kinds.count(one.kind) == 1:
            yield _said(rng, f"what colour is the {one.kind}?", f"what color is the {one.kind}?"), one.color


def _beside(view: View, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """The next thing on that side, in the picture."""
    alone = view.alone()
    if view.hardly or len(alone) < len(view.seen):
        return
    for one in alone:
        for side, sign in _SIDES.items():
            away = sorted((sign * (other.uv[0] - one.uv[0]), other.name) for other in alone if other != one)
            away = [(gap, name) for gap, name in away if gap > _ALIKE]
            if not away and rng.random() < _NOTHING:
                continue
            if any(_overlap(one, other) for other in alone if other != one):
                continue
            if away and (away[0][0] < _APART or (len(away) > 1 and away[1][0] - away[0][0] < _APART / 2)):
                continue
            what = _said(
                rng, f"what is {side} of the {one.name}?", f"what is to the {side} of the {one.name}?"
            )
            yield what, f"the {away[0][1]}" if away else "nothing"


def _relation(view: View, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    for one in view.alone():
        for other in view.alone():
            gap = other.uv[0] - one.uv[0]
            if one != other and abs(gap) >= _APART and not _overlap(one, other):
                side = _said(rng, *_SIDES)
                answer = "yes" if (gap > 0) == (side == "left") else "no"
                yield f"is the {one.name} {side} of the {other.name}?", answer


def _nearer(view: View, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    for one in view.alone():
        for other in view.alone():
            if one != other and abs(one.forward_m - other.forward_m) >= CLEAR_M:
                nearer = min(one, other, key=lambda seen: seen.forward_m)
                what = f"which is nearer to the robot, the {one.name} or the {other.name}?"
                yield what, f"the {nearer.name}"


def _bigger(view: View, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    for one in view.alone():
        for other in view.alone():
            if one != other and abs(np.log(one.size_m / other.size_m)) >= np.log(CLEAR_RATIO):
                bigger = max(one, other, key=lambda seen: seen.size_m)
                yield f"which is bigger, the {one.name} or the {other.name}?", f"the {bigger.name}"


def _point(view: View, rng: np.random.Generator) -> Iterator[tuple[str, str, Box]]:
    for one in view.alone():
        yield f"point to the {one.name}", coordinates(one.uv), one.box


def _box(view: View, rng: np.random.Generator) -> Iterator[tuple[str, str, Box]]:
    for one in view.alone():
        what = _said(rng, f"where is the {one.name}?", f"give the box of the {one.name}")
        yield what, coordinates(one.box), one.box


def _doing(view: View, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    if view.doing and (view.held or rng.random() < 1 - _NOTHING):
        yield "what is the robot doing?", view.doing
        yield "what does the robot hold?", f"the {view.held}" if view.held else "nothing"


KINDS: Mapping[str, Callable[[View, np.random.Generator], Iterator[tuple]]] = {
    "exists": _exists, "count": _count, "colour": _color, "beside": _beside, "relation": _relation,
    "nearer": _nearer, "bigger": _bigger, "point": _point, "box": _box, "action": _doing,
}  # fmt: skip


def coordinates(values: Sequence[float]) -> str:
    """Fractions of the picture in words: "0.42, 0.63"."""
    return ", ".join(f"{min(max(value, 0.0), 0.99):.2f}" for value in values)
