"""What a long task is: its sentence, its steps, and what must be on the table for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema.card.prompt import MAX_INSTRUCTION_CHARS
from kinema.schema import KinemaError
from kinema.worlds.tabletop.parse import parse_instruction
from kinema.worlds.tabletop.sentence import Request
from kinema.worlds.variation import COLORS

KINDS = ("tidy", "buttons", "sequence", "tower")  # every colour once, as in the families that policies learn
CROWDED = ("crowded", "crowded_tower")  # a block, a place and a button may have one colour
ANY = ("tidy", *CROWDED)  # of which one is drawn where no kind is told: what a success check learns from
Clause = tuple[str, tuple[str, ...]]  # what is said, and the steps that it means
MOST_BLOCKS, MOST_PLACES, MOST_BUTTONS = 5, 2, 2
STEP_FAMILIES = ("pick_place", "stack", "tidy", "button")  # whose sentences a step may be
_FEWEST, _MOST = 4, 8  # steps of a drawn task
_TIDY = ("tidy up the table", "clean up the table", "put all the blocks in the box")
_JOINS = (
    ("first ", ", then ", ", finally "),
    ("first ", ", after that ", ", and finally "),
    ("", ", then ", ", then "),
)


@dataclass(frozen=True, kw_only=True)
class LongTask:
    """text: the whole sentence; steps: a family's sentence each; ordered: whether one comes after another

    blocks, places, buttons: colours (and kind, of places) on the table; box: whether one stands there
    """

    text: str
    steps: tuple[str, ...]
    ordered: bool
    blocks: tuple[str, ...] = ()
    places: tuple[tuple[str, str], ...] = ()
    buttons: tuple[str, ...] = ()
    box: bool = False

    def __post_init__(self) -> None:
        for things, most, what in (
            (self.blocks, MOST_BLOCKS, "blocks"),
            (self.places, MOST_PLACES, "bowls and plates"),
            (self.buttons, MOST_BUTTONS, "buttons"),
        ):
            if len(things) > most:
                raise KinemaError(f"a long task has room for {most} {what}; it names {len(things)}")


def draw_task(rng: np.random.Generator, kind: str) -> LongTask:
    """A task of four to eight steps.

    tidy: four or five blocks go into the box; buttons: three do, and buttons are pressed before and after;
    sequence: one goes to a place, one on another, a button between; tower: three are stacked, and buttons;
    crowded: what needs eight things
    """
    if kind == "tidy":
        return _draw_tidy(rng)
    draw = {"buttons": _draw_buttons, "sequence": _draw_sequence, "tower": _draw_tower}.get(kind)
    while True:
        task = draw(rng) if draw else _draw_crowded(rng, kind == "crowded_tower")
        if len(task.text) <= MAX_INSTRUCTION_CHARS:
            return task


def task_of(text: str, steps: Sequence[str], ordered: bool) -> LongTask:
    """The task of a sentence that was read. Raises KinemaError for a step that no long task has."""
    requests = [step_request(step) for step in steps]
    blocks = [r.thing for r in requests if r.family != "button"]
    blocks += [r.place for r in requests if r.family == "stack"]
    places = [(r.place, r.kind) for r in requests if r.family == "pick_place"]
    return LongTask(
        text=text,
        steps=tuple(steps),
        ordered=ordered,
        blocks=tuple(dict.fromkeys(blocks)),
        places=tuple(dict.fromkeys(places)),
        buttons=tuple(dict.fromkeys(r.thing for r in requests if r.family == "button")),
        box=any(r.family == "tidy" for r in requests),
    )


def step_request(step: str) -> Request:
    """What a step asks for. Raises KinemaError when that is no step of a long task."""
    request = parse_instruction(step)
    if request.family not in STEP_FAMILIES or (request.family == "tidy" and not request.thing):
        raise KinemaError(
            f"{step!r} is no step of a long task; those put one block somewhere, stack or press a button"
        )
    return request


def _draw_tidy(rng: np.random.Generator) -> LongTask:
    blocks = tuple(map(str, rng.permutation(list(COLORS))[: rng.integers(_FEWEST, MOST_BLOCKS + 1)]))
    steps = tuple(f"put the {color} block in the box" for color in blocks)
    return LongTask(text=str(rng.choice(_TIDY)), steps=steps, ordered=False, blocks=blocks, box=True)


def _draw_buttons(rng: np.random.Generator) -> LongTask:
    colors = _colors(rng)
    blocks, buttons = colors[:3], colors[3:]
    clauses = [_said(f"put the {block} block in the box") for block in blocks]
    _press(rng, clauses, buttons, int(rng.integers(_FEWEST, _MOST + 1)) - len(blocks))
    return _joined(rng, clauses, blocks=blocks, buttons=buttons, box=True)


def _draw_sequence(rng: np.random.Generator) -> LongTask:
    colors = _colors(rng)
    blocks, place, button = colors[:3], colors[3], colors[4]
    kind = str(rng.choice(["bowl", "plate"]))
    moves = [
        _said(f"put the {blocks[0]} block {'in' if kind == 'bowl' else 'on'} the {place} {kind}"),
        _said(f"stack the {blocks[1]} block on the {blocks[2]} block"),
    ]
    first, second = (moves[i] for i in rng.permutation(2))
    press = _said(f"press the {button} button")
    clauses = [first, press, second, press]  # one button twice running looks like once
    if rng.integers(2):
        clauses = [press, *clauses]
    return _joined(rng, clauses, blocks=blocks, places=[(place, kind)], buttons=[button])


def _draw_tower(rng: np.random.Generator) -> LongTask:
    colors = _colors(rng)
    blocks, buttons = colors[:3], colors[3:]
    clauses = [_tower(blocks)]
    _press(rng, clauses, buttons, int(rng.integers(2, 4)))
    return _joined(rng, clauses, blocks=blocks, buttons=buttons)


def _draw_crowded(rng: np.random.Generator, tower: bool) -> LongTask:
    """Three steps that move blocks, and presses between them; in a tower two blocks go on one another."""
    blocks = [str(color) for color in rng.permutation(list(COLORS))[:4]]
    free = [str(color) for color in rng.permutation(list(COLORS))]
    places: list[tuple[str, str]] = []
    clauses: list[Clause] = []
    for block in blocks[: 1 if tower else 2]:
        color = next(c for c in free if c != block)
        free.remove(color)
        kind = str(rng.choice(["bowl", "plate"]))
        places.append((color, kind))
        clauses.append(_said(f"put the {block} block {'in' if kind == 'bowl' else 'on'} the {color} {kind}"))
    clauses.append(
        _tower(blocks[1:]) if tower else _said(f"stack the {blocks[2]} block on the {blocks[3]} block")
    )
    clauses = [clauses[i] for i in rng.permutation(len(clauses))]
    buttons = [str(color) for color in rng.permutation(list(COLORS))[:MOST_BUTTONS]]
    presses = int(rng.integers(_FEWEST, _MOST + 1)) - sum(len(steps) for _, steps in clauses)
    _press(rng, clauses, buttons, presses)
    return _joined(rng, clauses, blocks=blocks, places=places, buttons=buttons)


def _colors(rng: np.random.Generator) -> list[str]:
    return [str(color) for color in rng.permutation(list(COLORS))]


def _press(rng: np.random.Generator, clauses: list[Clause], buttons: Sequence[str], presses: int) -> None:
    """Put presses anywhere between the clauses, one button and another in turn."""
    pressed = int(rng.integers(len(buttons)))
    for at in sorted(rng.integers(0, len(clauses) + 1, presses))[::-1]:
        pressed = (pressed + 1) % len(buttons)
        clauses.insert(int(at), _said(f"press the {buttons[pressed]} button"))


def _joined(
    rng: np.random.Generator, clauses: Sequence[Clause], *, blocks: Sequence[str], buttons: Sequence[str],
    places: Sequence[tuple[str, str]] = (), box: bool = False,
) -> LongTask:  # fmt: skip
    """One clause after another as one sentence."""
    first, then, last = _JOINS[rng.integers(len(_JOINS))]
    said = [text for text, _ in clauses]
    return LongTask(
        text=first + then.join(said[:-1]) + last + said[-1],
        steps=tuple(step for _, steps in clauses for step in steps), ordered=True,
        blocks=tuple(blocks), places=tuple(places), buttons=tuple(buttons), box=box,
    )  # fmt: skip


def _said(step: str) -> Clause:
    return step, (step,)


def _tower(colors: Sequence[str]) -> Clause:
    """Of three blocks, the first at the bottom."""
    low, middle, high = colors
    steps = (f"stack the {middle} block on the {low} block", f"stack the {high} block on the {middle} block")
    return f"stack the {low}, the {middle} and the {high} block", steps
