"""Long tasks: sentence and steps are inverse, scenes hold what is named, the expert reaches the goal."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.card.prompt import MAX_INSTRUCTION_CHARS
from kinema.schema import KinemaError
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.tabletop.long.env import LongEnv
from kinema.worlds.tabletop.long.planner import BuiltInPlanner
from kinema.worlds.tabletop.long.questions import possible_steps
from kinema.worlds.tabletop.long.tasks import CROWDED, KINDS, draw_task
from kinema.worlds.tabletop.long.words import (
    TabletopLanguage,
    canonical,
    is_long,
    read_long,
    scene_of,
    things_of,
)


@pytest.fixture(scope="module")
def env():
    with closing(LongEnv(card=load_card("panda"), image_size=32)) as made:
        yield made


@pytest.mark.parametrize("kind", [*KINDS, *CROWDED])
def test_the_grammar_reads_what_tasks_say(kind: str) -> None:
    lengths = set()
    for seed in range(200):
        task = draw_task(np.random.default_rng(seed), kind)
        read = read_long(task.text, [f"{color} block" for color in task.blocks])
        assert (read.steps, read.ordered) == (task.steps, task.ordered), task.text
        assert len(task.text) <= MAX_INSTRUCTION_CHARS
        lengths.add(len(task.steps))
        named = [*task.blocks, *(color for color, _ in task.places), *task.buttons]
        assert kind in CROWDED or len(set(named)) == len(named)
        for before, after in zip(task.steps, task.steps[1:]):
            assert before != after  # a button that is pressed twice at once looks like once
    assert lengths == ({4, 5} if kind in ("tidy", "sequence", "tower") else {4, 5, 6, 7, 8})


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("put all the blocks into the blue bowl", ["put the red block in the blue bowl"]),
        ("Tidy up the table.", ["put the red block in the box"]),
        (
            "stack the red, the green and the blue block",
            ["stack the green block on the red block", "stack the blue block on the green block"],
        ),
        (
            "first push the red button, then pick up the green block and put it in the blue bowl and finally "
            "press the red button",
            ["press the red button", "put the green block in the blue bowl", "press the red button"],
        ),
        (
            "put the red block in the box and press the blue button, put the green block on the red plate",
            ["put the red block in the box", "press the blue button", "put the green block on the red plate"],
        ),
        ("put the red block in the blue bowl", ["put the red block in the blue bowl"]),
    ],
)
def test_sentences_in_other_words(text: str, steps: list[str]) -> None:
    assert list(read_long(text, ["red block", "box"]).steps) == steps


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("first put the red block in the blue bowl, then fly to the moon", "fly to the moon"),
        ("open the drawer, then press the red button", "open the drawer"),
        ("stack the red, the mauve and the blue block", "mauve"),
        ("", "says nothing"),
        (", then ; finally .", "says nothing"),
        ("tidy up the table", "none is seen"),
        ("press the red button, then " * 40, "at most 400"),
        ("put the blue block in the blue bowl then press the red button", "blue block in the blue bowl"),
    ],
)
def test_what_is_no_long_task_is_named(text: str, named: str) -> None:
    with pytest.raises(KinemaError, match=named):
        read_long(text)
    assert not is_long(text)


def test_what_the_policy_reads_as_it_is_gets_no_planner() -> None:
    assert is_long("put all the blocks in the blue bowl")
    assert is_long("put the red block in the box, then put the blue block in the box")
    assert not is_long("tidy up the table")
    assert not is_long("put the red block in the blue bowl")


def test_a_scene_holds_what_its_sentence_names(env: LongEnv) -> None:
    text = "first stack the red, the green and the blue block, then put the yellow block on the red plate"
    task = scene_of(text)
    env.begin(3, task)
    names = {thing.name for thing in env.task.things(env.scene.data)}
    assert {name for step in task.steps for name in things_of(step)} <= names
    assert env.instruction == text
    assert not env.holds()
    assert set(task.steps) < set(possible_steps(env))
    with pytest.raises(KinemaError, match="no red button"):
        env.tell("press the red button")
    with pytest.raises(KinemaError, match="has room for 2 buttons"):
        scene_of("press the red button, then press the blue button, then press the green button")


def test_the_same_seed_is_the_same_scene(env: LongEnv) -> None:
    def scene(seed: int) -> tuple[str, np.ndarray]:
        env.begin(seed)
        return env.instruction, env.scene.data.qpos.copy()

    (text, qpos), (again, same), (other, _) = scene(7), scene(7), scene(8)
    assert text == again
    assert text != other
    np.testing.assert_array_equal(qpos, same)


def _do(env: LongEnv, expert: Expert, step: str) -> None:
    env.tell(step)
    for _ in range(100):
        env.step(expert.act())
        if env.told_holds() and env.task.told.progress.held_for(0.5):
            break
    for _ in range(12):  # away from it
        env.step(expert.act())


def test_all_steps_in_their_order_reach_the_goal_and_no_fewer(env: LongEnv) -> None:
    task = scene_of("first press the red button, then put the green block in the blue bowl")
    expert = Expert(env)
    env.begin(11, task)
    _do(env, expert, task.steps[1])  # not yet its turn, but it lasts
    assert env.told_holds()
    assert env.task.done == [False, False]
    assert not env.holds()
    _do(env, expert, task.steps[0])
    assert env.holds()
    assert env.success()
    assert env.measures()["steps_done"] == 2


def test_an_ordered_press_counts_in_its_turn_alone(env: LongEnv) -> None:
    task = scene_of("first put the green block in the blue bowl, then press the red button")
    expert = Expert(env)
    env.begin(11, task)
    _do(env, expert, task.steps[1])
    assert env.told_holds()
    _do(env, expert, task.steps[0])
    assert env.task.done == [True, False]
    assert not env.holds()


def test_the_plan_is_what_is_left() -> None:
    class Attempt:
        def __init__(self, step: str, done: bool) -> None:
            self.step, self.done = step, done

    seen = ["red block", "blue block", "green block", "box"]
    planner = BuiltInPlanner()
    steps = list(planner.plan("tidy up the table", seen, []))
    assert steps == [f"put the {color} block in the box" for color in ("red", "blue", "green")]
    tried = [Attempt(steps[0], False)]
    assert list(planner.plan("tidy up the table", seen, tried)) == [steps[1], steps[2], steps[0]]
    tried.append(Attempt(steps[1], True))
    assert set(planner.plan("tidy up the table", seen, tried)) == {steps[0], steps[2]}
    text = "press the red button, then press the blue button, then press the red button"
    planner = BuiltInPlanner()
    assert len(planner.plan(text, [], [])) == 3
    assert list(planner.plan(text, [], [Attempt("press the red button", True)])) == [
        "press the blue button", "press the red button"
    ]  # fmt: skip


def test_other_words_ask_for_the_same() -> None:
    language = TabletopLanguage()
    for step in (
        "put the red block in the blue bowl",
        "press the red button",
        "put the red block in the box",
    ):
        for number in range(1, 6):
            assert canonical(language.other_words(step, number)) == step
        assert language.other_words(step, 1) == step


def test_what_is_moved_again_or_springs_back_does_not_last() -> None:
    steps = [
        "put the red block on the green plate", "press the blue button", "put the red block in the box",
        "stack the green block on the yellow block",
    ]  # fmt: skip
    assert TabletopLanguage().lasting(steps) == [False, False, True, True]


def test_bodies_and_looks_that_have_no_long_tasks_are_refused() -> None:
    from kinema.worlds.variation import Variation

    with pytest.raises(KinemaError, match="aloha has no family 'long'"):
        LongEnv(card=load_card("aloha"))
    with pytest.raises(KinemaError, match="wide"):
        LongEnv(card=load_card("panda"), variation=Variation.named("wide"))
    with pytest.raises(KinemaError, match="unknown kind"):
        LongEnv(card=load_card("panda"), kind="short")
