"""Laws of the wide look: training never draws what is held out, a sentence means one thing in its scene."""

import colorsys

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.schema import KinemaError
from kinema.worlds import Expert, TabletopEnv, Variation, wide
from kinema.worlds.tabletop.families import FAMILIES
from kinema.worlds.tabletop.parse import parse_instruction
from kinema.worlds.tabletop.sentence import Request
from kinema.worlds.tabletop.things.catalog import KINDS
from kinema.worlds.tabletop.things.draw import GRASPED_HALF_M, colors_of, kinds
from kinema.worlds.variation import COLORS, WIDE_AXES, draw_shade, draw_wide_backdrop
from kinema.worlds.words import lexicon
from kinema.worlds.words.events import Aim
from kinema.worlds.words.grammar import Command
from kinema.worlds.words.reference import Reference

WIDE = Variation(look="wide")
RANGES = {name: value for name, value in vars(wide).items() if isinstance(value, wide.Range)}
CHOICES = {name: value for name, value in vars(wide).items() if isinstance(value, wide.Choice)}


def inside(value: float, intervals: tuple[wide.Interval, ...]) -> bool:
    return any(low <= value <= high for low, high in intervals)


@pytest.mark.parametrize("name", RANGES)
def test_training_is_wide_and_never_draws_what_is_held_out(name: str) -> None:
    drawn, rng = RANGES[name], np.random.default_rng(0)
    for held_out, mine, others in ((False, drawn.seen, drawn.held_out), (True, drawn.held_out, drawn.seen)):
        for _ in range(150):
            value = drawn.draw(rng, held_out)
            assert inside(value, mine)
            assert not inside(value, others)
    width = {kind: sum(high - low for low, high in getattr(drawn, kind)) for kind in ("seen", "held_out")}
    assert width["seen"] > width["held_out"]


def test_names_for_training_are_none_that_are_held_out() -> None:
    assert CHOICES
    for choice in CHOICES.values():
        assert not set(choice.seen) & set(choice.held_out)
    assert not set(kinds(held_out=False)) & set(kinds(held_out=True))
    assert set(kinds(held_out=True)) == set(wide.KINDS_HELD_OUT)


@pytest.mark.parametrize("color", list(wide.COLORS))
def test_shades_for_training_are_neither_looks_held_out_ones(color: str) -> None:
    rng = np.random.default_rng(1)
    seen = np.array([colorsys.rgb_to_hsv(*wide.draw_shade(rng, color, False)) for _ in range(100)])
    held_out = np.array([colorsys.rgb_to_hsv(*wide.draw_shade(rng, color, True)) for _ in range(100)])
    low, high = held_out[:, 2].min(), held_out[:, 2].max()
    assert not ((low <= seen[:, 2]) & (seen[:, 2] <= high)).any()
    assert seen[:, 2].min() < low
    assert high < seen[:, 2].max()
    if color in COLORS:
        plain = np.array([colorsys.rgb_to_hsv(*draw_shade(rng, color, True)) for _ in range(100)])
        assert plain[:, 1].max() < seen[:, 1].min()


def test_backdrops_for_training_are_none_that_are_held_out() -> None:
    rng = np.random.default_rng(2)
    for held_out in (False, True):
        for _ in range(100):
            drawn = draw_wide_backdrop(rng, held_out)
            tilt = float(np.arccos(-drawn.light_direction[2]))
            for value, axis in ((drawn.light, wide.LIGHT), (tilt, wide.LIGHT_TILT_RAD)):
                assert inside(value, axis.held_out) is held_out
            assert (drawn.surface in wide.TABLE_SURFACE.held_out) is held_out
            hue, saturation, _ = colorsys.rgb_to_hsv(*drawn.table_rgb)
            if saturation > 0:
                assert inside(hue, wide.TABLE_HUE.held_out) is held_out


def test_things_have_names_colours_and_a_width_that_jaws_take() -> None:
    assert len(KINDS) >= 40
    assert len(wide.COLORS) >= 12
    assert set(KINDS) <= set(lexicon.KINDS)
    assert set(wide.COLORS) == set(lexicon.COLORS)
    for name, kind in KINDS.items():
        assert set(colors_of(name)) <= set(wide.COLORS)
        assert 0.005 <= kind.half_m[1] <= GRASPED_HALF_M
        assert kind.parts


def axes_of(env: TabletopEnv) -> dict[str, bool]:
    """By axis: whether what the episode shows is held out."""
    scene, task = env.scene, env.task
    model = scene.model
    as_built = TabletopEnv(card=env.card, family=env.family).scene.model
    camera = model.camera("front").id
    base = -model.body("right/base").pos[2] + as_built.body("right/base").pos[2]
    shift = model.cam_pos[camera] - as_built.camera("front").pos + [0, 0, base]
    about = [i for i in range(model.nbody) if model.body(i).name.startswith("ornament")]
    standing = sum(model.body_pos[i][2] > -1.0 for i in about)
    item = task.target
    size = item.shape.half_m[1] / item.kind.half_m[1]
    return {
        "camera": inside(float(np.linalg.norm(shift)), wide.CAMERA_SHIFT_M.held_out),
        "height": inside(float(base), wide.TABLE_HEIGHT_M.held_out),
        "instance": item.kind.name in wide.KINDS_HELD_OUT and inside(size, wide.SIZE.held_out),
        "clutter": standing > wide.CLUTTER.seen[0][1],
    }


@pytest.mark.parametrize("axis", ["", "camera", "height", "instance", "clutter"])
def test_an_axis_is_held_out_alone(axis: str) -> None:
    env = TabletopEnv(
        card=load_card("panda"), family="pick_place", variation=Variation.named(f"wide+{axis}".strip("+"))
    )
    shown = []
    for seed in range(6):
        env.reset(seed)
        shown.append(axes_of(env))
    for told in shown:
        assert told == {name: name == axis for name in told}


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
@pytest.mark.parametrize("name", ["wide", "wide+all"])
def test_sentences_of_an_episode_mean_what_it_asks_for(family: str, name: str) -> None:
    robot = "aloha" if family == "lift_two_arms" else "panda"
    env = TabletopEnv(card=load_card(robot), family=family, variation=Variation.named(name))
    for seed in range(5):
        env.reset(seed)
        assert not env.holds()
        request = parse_instruction(env.instruction, "wide")
        assert request.family == family
        command = request.command
        assert command is not None
        if command.thing is None:
            continue
        thing, _ = env.task.focus(env.scene)
        sight = env.sights()[command.thing.meant(env.sights())]
        meant = env.scene.sight("", thing, 1.0).place_m
        np.testing.assert_allclose(sight.place_m, meant, atol=0.01)


def test_a_sentence_builds_a_scene_in_which_it_means_one_thing() -> None:
    text = "please put the left mug in the blue bowl"
    request = parse_instruction(text, "wide")
    assert (request.family, request.kind, request.place) == ("pick_place", "bowl", "blue")
    env = TabletopEnv(card=load_card("panda"), family="pick_place", variation=WIDE)
    for seed in range(4):
        env.reset(seed, request)
        assert env.instruction == text
        mugs = [item for item in env.task.blocks if not item.parked and item.noun == "mug"]
        left = max(mugs, key=lambda item: item.position(env.scene.data)[1])
        assert len(mugs) > 1
        assert env.task.target is left
        assert (env.task.place.kind, env.task.place.color) == ("bowl", "blue")


def test_captions_name_what_a_sentence_means_without_what_lies_beside_it() -> None:
    aim = Aim.of("next, put the white candle nearest the bowl in the orange tray")
    assert aim == Aim(family="pick_place", thing="white candle", place="orange tray")


def test_same_seed_gives_the_same_wide_scene_after_other_episodes() -> None:
    env = TabletopEnv(card=load_card("panda"), family="pick_place", variation=WIDE, image_size=32)
    seen = []
    for seed in (1, 2, 1):
        env.reset(seed)
        seen.append((env.instruction, env.state(), env.observe().images["front"]))
    env.close()
    assert seen[0][0] == seen[2][0]
    np.testing.assert_array_equal(seen[0][1], seen[2][1])
    np.testing.assert_array_equal(seen[0][2], seen[2][2])
    assert (seen[0][2] != seen[1][2]).any()


def solves(env: TabletopEnv, kind: str, seed: int) -> bool:
    place = ("bowl", "plate", "tray")[seed % 3]
    action = "put on" if place == "plate" else "put in"
    command = Command(action=action, thing=Reference(kind=kind), place=Reference(kind=place))
    env.reset(seed, Request(family="pick_place", text="asked", command=command))
    expert = Expert(env)
    for _ in range(env.max_steps):
        if env.success():
            return True
        env.step(expert.act())
    return env.success()


def test_the_expert_picks_and_places_some_kinds() -> None:
    env = TabletopEnv(card=load_card("panda"), family="pick_place", variation=WIDE)
    chosen = np.random.default_rng(3).choice(list(KINDS), 4, replace=False)
    assert all(solves(env, str(kind), seed) for seed, kind in enumerate(chosen))


@pytest.mark.slow
@pytest.mark.parametrize("robot", ["panda", "ur5e"])
def test_the_expert_picks_and_places_every_kind(robot: str) -> None:
    env = TabletopEnv(card=load_card(robot), family="pick_place", variation=WIDE)
    solved = [solves(env, kind, seed) for seed in range(3) for kind in KINDS]
    assert np.mean(solved) >= 0.95


def test_names_of_the_wide_look() -> None:
    for axes in ("", "+color", "+camera+height", "+all"):
        assert Variation.named(f"wide{axes}").name == f"wide{axes}"
    assert Variation.named("wide+all") == Variation(look="wide", **dict.fromkeys(WIDE_AXES, True))
    with pytest.raises(KinemaError, match="plain look"):
        Variation.named("camera")
