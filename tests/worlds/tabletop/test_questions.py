"""Answers are true of the scene, held against its state by other means than those that wrote them."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.commands.data.make_questions import make_questions
from kinema.data.conversations import read_conversations
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.questions import KINDS, Question, Seen, View, Viewer, questions
from kinema.worlds.variation import Variation


def _seen(name: str, u: float, v: float, forward_m: float = 0.4, size_m: float = 0.05) -> Seen:
    return Seen(
        name=name, uv=(u, v), box=(u - 0.04, v - 0.04, u + 0.04, v + 0.04), forward_m=forward_m, size_m=size_m
    )


SCENE = View(
    image=np.zeros((8, 8, 3), np.uint8),
    seen=[
        _seen("red block", 0.2, 0.5, 0.30), _seen("blue block", 0.5, 0.5, 0.45),
        _seen("green bowl", 0.8, 0.5, 0.60, 0.12),
    ],
    palette=("red", "blue", "green", "yellow"), held="red block", doing="holding the red block",
)  # fmt: skip


def _asked(view: View, kind: str) -> dict[str, Question]:
    found = [one for seed in range(200) for one in questions(view, np.random.default_rng(seed), 2)]
    return {one.question: one for one in found if one.kind == kind}


@pytest.mark.parametrize(
    ("kind", "question", "answer"),
    [
        ("exists", "is there a red block?", "yes"),
        ("exists", "is there a yellow block?", "no"),
        ("exists", "do you see a blue bowl?", "no"),
        ("count", "how many blocks are there?", "2"),
        ("count", "how many red things are there?", "1"),
        ("count", "how many yellow things are there?", "0"),
        ("colour", "what colour is the bowl?", "green"),
        ("beside", "what is left of the blue block?", "the red block"),
        ("beside", "what is to the right of the blue block?", "the green bowl"),
        ("beside", "what is left of the red block?", "nothing"),
        ("relation", "is the red block left of the green bowl?", "yes"),
        ("relation", "is the red block right of the green bowl?", "no"),
        ("nearer", "which is nearer to the robot, the green bowl or the blue block?", "the blue block"),
        ("bigger", "which is bigger, the green bowl or the red block?", "the green bowl"),
        ("point", "point to the blue block", "0.50, 0.50"),
        ("box", "where is the green bowl?", "0.76, 0.46, 0.84, 0.54"),
        ("action", "what is the robot doing?", "holding the red block"),
        ("action", "what does the robot hold?", "the red block"),
    ],
)
def test_a_scene_written_by_hand(kind: str, question: str, answer: str) -> None:
    assert _asked(SCENE, kind)[question].answer == answer


def test_what_is_not_clear_is_not_asked() -> None:
    def view(*seen: Seen, hardly: tuple[str, ...] = ()) -> View:
        return View(image=SCENE.image, seen=seen, hardly=hardly, palette=("yellow",))

    close = view(_seen("red block", 0.5, 0.2), _seen("blue bowl", 0.53, 0.8))
    for kind in ("relation", "nearer", "bigger"):
        assert not _asked(close, kind), kind
    assert {q.answer for q in _asked(close, "beside").values()} == {"nothing"}  # of the sides without any
    assert "what is right of the red block?" not in _asked(close, "beside")
    twins = view(_seen("red block", 0.2, 0.2), _seen("red block", 0.8, 0.8))
    for kind in ("beside", "relation", "nearer", "point", "box"):
        assert not _asked(twins, kind), kind
    hardly = view(*SCENE.seen, hardly=("yellow block",))
    assert not [q for q in _asked(hardly, "count") if "block" in q or "things" in q]
    assert not [q for q in _asked(hardly, "exists") if "yellow block" in q]


@pytest.mark.parametrize("look", ["seen", "wide"])
def test_points_lie_on_what_they_name_and_boxes_around_it(look: str) -> None:
    """By the drawn picture: with the thing taken away, pixels in the box change and those outside do not."""
    env = TabletopEnv(card=load_card("panda"), family="pick_place", variation=Variation.named(look))
    with closing(env), closing(Viewer(env)) as viewer:
        env.reset(3)
        before = viewer.view(waits=True)
        name = next(thing for thing in env.things())
        (seen,) = [one for one in before.seen if one.name == name.name]
        env.scene.model.geom_group[name.geoms] = 5  # hidden
        after = viewer.view(waits=True)
    changed = (before.image != after.image).any(-1)
    rows, columns = np.nonzero(changed)
    side = len(changed)
    assert changed[int(seen.uv[1] * side), int(seen.uv[0] * side)]
    found = columns.min() / side, rows.min() / side, (columns.max() + 1) / side, (rows.max() + 1) / side
    np.testing.assert_allclose(found, seen.box, atol=2 / side)


def test_the_made_file_is_the_same_twice_and_goes_on(tmp_path: Path) -> None:
    kwargs = dict(scenes=3, first_seed=1_000_000, bodies=("panda",), families=("button",))
    count = make_questions(tmp_path / "one", **kwargs)
    found = read_conversations(tmp_path / "one" / "questions.json")
    assert len(found) == count
    assert {one.label["kind"] for one in found} <= set(KINDS)
    first = json.loads((tmp_path / "one" / "questions.json").read_text())
    assert make_questions(tmp_path / "one", **kwargs) == count  # from what is there
    make_questions(tmp_path / "two", **kwargs)
    assert json.loads((tmp_path / "two" / "questions.json").read_text()) == first
