"""Things that move: they move as drawn, the expert catches them, DOMINO's scores are as published."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import pytest

from kinema.bench.benchmark import EndsEarly
from kinema.bench.tabletop import TabletopBenchmark
from kinema.card.load import load_card
from kinema.schema import KinemaError
from kinema.worlds import DYNAMIC, FAMILIES, Expert, TabletopEnv, Variation, families_for
from kinema.worlds.hazards.snapshot import restore, snapshot
from kinema.worlds.tabletop.blind import Blind
from kinema.worlds.tabletop.check import check, check_blind
from kinema.worlds.tabletop.demonstrate import demonstrate
from kinema.worlds.tabletop.env import playable, spelled_out
from kinema.worlds.tabletop.experts.motion import STEP_M, ToolTarget, straight
from kinema.worlds.tabletop.families import family_named
from kinema.worlds.tabletop.manipulation_score import manipulation_score, route_completion
from kinema.worlds.tabletop.movers import Belt
from kinema.worlds.tabletop.parse import parse_instruction
from kinema.worlds.tabletop.true_future import obeying
from kinema.worlds.words.caption_checks import contradictions
from kinema.worlds.words.narrate import Record, narrate, scenario_of

BODIES = ("panda", "ur5e", "aloha")
PAIRS = [(body, family) for body in BODIES for family in DYNAMIC]
SEED = 40_000


def world(family: str, body: str = "panda", variation: str = "seen") -> TabletopEnv:
    return TabletopEnv(
        card=load_card(body), family=family, variation=Variation.named(variation), image_size=48
    )


def velocity(env: TabletopEnv) -> np.ndarray:
    dof = env.task.target.dof
    return env.scene.data.qvel[dof : dof + 3].copy()


def hold(env: TabletopEnv, steps: int) -> None:
    still = Blind(env.card, "hold", env.state(), 0)
    for _ in range(steps):
        env.step(still.act())


@pytest.mark.parametrize(("body", "family"), PAIRS)
def test_the_expert_catches_it(body: str, family: str) -> None:
    row = check(body, family, "seen", episodes=3, first_seed=SEED)
    assert len(row.steps) == 3, str(row)


@pytest.mark.slow
@pytest.mark.parametrize(("body", "family"), PAIRS)
def test_the_expert_catches_what_it_claims(body: str, family: str) -> None:
    row = check(body, family, "seen", episodes=60)
    assert row.rate >= 0.95, str(row)


@pytest.mark.parametrize("variation", ["all", "wide+all"])
@pytest.mark.parametrize("family", DYNAMIC)
def test_the_expert_catches_what_is_held_out(family: str, variation: str) -> None:
    row = check("panda", family, variation, episodes=3, first_seed=SEED)
    assert len(row.steps) >= 2, str(row)


@pytest.mark.parametrize("policy", ["hold", "drift"])
@pytest.mark.parametrize("family", DYNAMIC)
def test_what_sees_nothing_catches_nothing(family: str, policy: str) -> None:
    assert check_blind("panda", family, policy, episodes=3).steps == ()


@pytest.mark.parametrize("family", DYNAMIC)
def test_it_keeps_its_speed_until_it_leaves_the_area_and_is_lost(family: str) -> None:
    env = world(family)
    low, high = env.task.speeds_m_s
    ways = []
    for seed in range(SEED, SEED + 6):
        env.reset(seed)
        began, start = velocity(env), env.task.target.position(env.scene.data)
        speed = float(np.linalg.norm(began[:2]))
        assert 0.97 * low < speed < 1.01 * high
        hold(env, 20)
        gone = env.task.target.position(env.scene.data) - start
        np.testing.assert_allclose(gone[:2], 2.0 * began[:2], atol=0.06 * 2.0 * speed)
        assert abs(gone[2]) < 0.002
        steps = 0
        while not env.over():
            hold(env, 1)
            steps += 1
            assert steps < env.max_steps
        assert not env.success()
        found = env.measures()
        assert (found["out_of_bounds"], found["clutter_touched"]) == (1.0, 0.0)
        assert found["manipulation_score"] == 0.5 * found["route_completion"]
        ways.append(began[:2] / speed)
    across = np.array(ways) @ env.scene.area.turn(0.0, 1.0)
    assert across.min() < -0.9 < 0.9 < across.max()  # both ways
    env.close()


def test_the_belt_runs_on_without_ever_moving_away() -> None:
    env = world("dynamic_belt")
    env.reset(SEED)
    belt: Belt = env.task.belt
    slab = env.scene.model.body("belt/slab").id
    seen = []
    for _ in range(80):
        hold(env, 1)
        seen.append(env.scene.data.xpos[slab] - env.scene.data.xpos[belt.body])
    away = np.linalg.norm(seen, axis=1)
    assert away.max() < 0.04
    assert np.ptp(away) > 0.01
    env.close()


@pytest.mark.parametrize(("body", "family"), [("panda", "dynamic_belt"), ("aloha", "dynamic_roll")])
def test_an_episode_is_the_same_again_and_after_it_is_put_back(body: str, family: str) -> None:
    env = world(family, body)

    def play(steps: int) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        expert, states = Expert(env), []
        for _ in range(steps):
            env.step(expert.act())
            states.append(np.concatenate([env.state(), env.scene.data.qpos]))
        return np.array(states), env.observe().images["front"], env.measures()

    env.reset(SEED)
    first = play(14)
    env.reset(SEED + 1)
    play(3)
    env.reset(SEED)
    play(4)
    taken = snapshot(env)
    play(15)
    restore(env, taken)
    again = play(10)
    env.close()
    np.testing.assert_array_equal(first[0][4:], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert first[2] == again[2]


@pytest.mark.parametrize("family", DYNAMIC)
def test_its_sentences_are_its_own(family: str) -> None:
    cls = family_named(family)
    told = cls.templates["bowl"]
    for text in (*told.seen, *told.held_out):
        request = parse_instruction(text.format(thing=f"red {cls.thing_noun}", place="blue bowl"))
        assert (request.family, request.thing, request.place) == (family, "red", "blue")
    (example,) = cls.examples
    env = world(family)
    env.reset(SEED, parse_instruction(example))
    assert env.instruction == example
    assert env.task.target.color == "red"
    assert env.task.place.color == "blue"
    env.close()
    assert parse_instruction("put the red block in the blue bowl").family == "pick_place"
    assert parse_instruction("slide the red block to the blue area").family == "push"


def test_another_sentence_of_its_own_aims_at_the_other_thing() -> None:
    env = world("dynamic_slide")
    env.reset(SEED)
    mine, other = env.task.blocks
    asked = f"catch the sliding {other.color} block and put it in the {env.task.place.color} bowl"
    with obeying(env, asked):
        assert env.task.target is other
    assert env.task.target is mine
    env.close()


@pytest.mark.parametrize("family", DYNAMIC)
def test_its_captions_hold_and_its_points_follow_it(family: str) -> None:
    env = world(family)
    demo = demonstrate(env, Expert(env), SEED)
    env.close()
    assert demo.success
    assert [event.kind for event in demo.events] == ["grasp", "lift", "release", "place"]
    record = Record(
        card=env.card,
        instruction=demo.instruction,
        state=demo.state,
        executed=demo.executed,
        cameras=tuple(env.card.camera_names),
        events=demo.events,
        success=True,
        scenario=scenario_of(env.card),
    )
    captions = narrate(record)
    assert contradictions(captions, record) == []
    assert captions.task == family
    uv = demo.points[:, 0, 0]
    assert np.linalg.norm(uv[6, :2] - uv[0, :2]) > 0.05  # before it is touched it has moved in the picture


def test_all_families_are_those_that_stand_still() -> None:
    assert not set(DYNAMIC) & {family for body in BODIES for family in (*families_for(body), *FAMILIES)}
    default = {spec.groups["family"] for spec in TabletopBenchmark().tasks()}
    assert not default & set(DYNAMIC)
    named = TabletopBenchmark(bodies=("panda", "g1"), families=DYNAMIC).tasks()
    assert [spec.name for spec in named] == [f"panda/{family}" for family in DYNAMIC]
    assert spelled_out("panda", ("dynamic", "push")) == (*DYNAMIC, "push")
    assert spelled_out("g1", ("dynamic",)) == ("dynamic",)
    assert playable("g1") == ()
    with pytest.raises(KinemaError, match="dynamic_roll"):
        TabletopEnv(card=load_card("panda"), family="dynamic")


def test_a_lost_thing_ends_the_episode_for_the_runner() -> None:
    environment = TabletopBenchmark(bodies=("panda",), families=DYNAMIC, image_size=32).make(
        "panda/dynamic_roll"
    )
    assert isinstance(environment, EndsEarly)
    environment.reset(SEED)
    assert not environment.over()
    environment.close()


def test_clutter_is_fined_once_and_what_was_touched_is_never_lost() -> None:
    """The tool goes to the other block, twice; then the named one, once touched, is far away."""
    env = world("dynamic_slide")
    env.reset(SEED)
    scene, task = env.scene, env.task

    def poke(block: Any) -> None:
        for _ in range(20):
            at = block.position(scene.data) + 0.1 * np.array([*scene.data.qvel[block.dof :][:2], 0.0])
            goal = straight(scene.tool(), at, STEP_M)
            target = ToolTarget(position_m=goal, opening=0.0)
            env.step(scene.controller.clamp(np.array([*target.position_m, 0, 0, 0, target.opening])))

    assert env.measures()["clutter_touched"] == 0.0
    poke(task.blocks[1])
    assert env.measures()["clutter_touched"] == 1.0
    poke(task.blocks[1])
    assert env.measures()["clutter_touched"] == 1.0
    task.begin()
    task.progress.touched = frozenset({task.target.name, task.other.name})
    task.target.place(scene.model, scene.data, scene.area.at(0.0, 3.0), 0.0)
    mujoco.mj_forward(scene.model, scene.data)
    hold(env, 3)
    assert not env.over()
    found = env.measures()
    assert found["out_of_bounds"] == 0.0
    assert found["manipulation_score"] == pytest.approx(0.8 * found["route_completion"])
    env.close()


X = np.array([1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("first", "last", "wanted"),
    [
        ([0.5], [0.2], 60.0),  # three fifths of the way
        ([0.5], [0.7], 0.0),  # further away than at first
        ([0.5], [0.0], 100.0),
        ([0.4, 0.8], [0.3, 0.2], 75.0),  # the better arm
        ([0.005], [0.04], 100.0),  # began at it and stayed
        ([0.005], [0.06], 50.0),  # began at it and left
        ([0.02], [0.01], 50.0),  # two centimetres are a way to go
    ],
)
def test_route_completion_by_hand(first: list[float], last: list[float], wanted: float) -> None:
    """Arms on a line, their distances from the target as given."""
    target = np.array([0.1, 0.2, 0.3])
    tools = [[target + d * X for d in distances] for distances in (first, last)]
    assert route_completion(False, *tools, target) == pytest.approx(wanted)
    assert route_completion(True, *tools, target) == 100.0


@pytest.mark.parametrize(
    ("lost", "clutter", "wanted"), [(False, 0, 80.0), (True, 0, 40.0), (False, 2, 51.2), (True, 1, 32.0)]
)
def test_manipulation_score_by_hand(lost: bool, clutter: int, wanted: float) -> None:
    assert manipulation_score(80.0, out_of_bounds=lost, clutter_touched=clutter) == pytest.approx(wanted)
