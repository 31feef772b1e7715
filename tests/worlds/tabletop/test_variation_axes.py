import colorsys

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.schema import KinemaError
from kinema.worlds import AXES, SEEN, TabletopEnv, Variation
from kinema.worlds.tabletop.families import FAMILIES
from kinema.worlds.tabletop.family import Family
from kinema.worlds.tabletop.parse import parse_instruction
from kinema.worlds.variation import COLORS, draw_backdrop, draw_shade


def test_names_of_variations() -> None:
    assert Variation.named("seen") == SEEN
    assert Variation.named("all") == Variation(**dict.fromkeys(AXES, True))
    for axis in AXES:
        assert Variation.named(axis).name == axis
    assert Variation.named("color+position").name == "color+position"
    with pytest.raises(KinemaError, match="instruction"):
        Variation.named("colour")


@pytest.mark.parametrize("color", list(COLORS))
def test_held_out_shades_lie_outside_the_training_band(color: str) -> None:
    rng = np.random.default_rng(0)
    seen = np.array([colorsys.rgb_to_hsv(*draw_shade(rng, color, False)) for _ in range(200)])
    held = np.array([colorsys.rgb_to_hsv(*draw_shade(rng, color, True)) for _ in range(200)])
    assert held[:, 2].max() < seen[:, 2].min()
    # The name still fits: the hue stays nearest to its own colour's.
    hues = np.array([COLORS[name][0] for name in COLORS])
    for hue in held[:, 0]:
        distance = np.abs((hues - hue + 0.5) % 1.0 - 0.5)
        assert list(COLORS)[int(distance.argmin())] == color


def test_held_out_templates_are_new_and_complete() -> None:
    for told in (told for family in FAMILIES for told in family.templates.values()):
        assert told.seen
        assert told.held_out
        assert not set(told.seen) & set(told.held_out)


def test_backdrops_of_the_two_distributions_differ() -> None:
    rng = np.random.default_rng(0)
    seen = [draw_backdrop(rng, False) for _ in range(100)]
    held = [draw_backdrop(rng, True) for _ in range(100)]
    warm = max(colorsys.rgb_to_hsv(*b.table_rgb)[0] for b in seen)
    cool = min(colorsys.rgb_to_hsv(*b.table_rgb)[0] for b in held)
    assert warm < cool
    assert min(b.light for b in seen) > max(b.light for b in held)
    assert not any(b.checkered for b in seen)
    assert any(b.checkered for b in held)


@pytest.mark.parametrize("family", ["pick_place", "stack", "button"])
def test_position_axis_puts_the_named_thing_outside_the_area(family: str) -> None:
    for variation, inside in ((SEEN, True), (Variation(position=True), False)):
        env = TabletopEnv(card=load_card("panda"), family=family, variation=variation)
        area = env.scene.area
        for seed in range(10):
            env.reset(seed)
            thing, _ = env.task.focus(env.scene)
            u, v = (thing[:2] - np.array(area.center)) / np.array(area.half)
            assert bool(max(abs(u), abs(v)) <= 1.02) is inside


def test_instance_axis_changes_shapes_only() -> None:
    seen = TabletopEnv(card=load_card("panda"), family="stack")
    held = TabletopEnv(card=load_card("panda"), family="stack", variation=Variation(instance=True))
    kinds = set()
    for seed in range(10):
        seen.reset(seed)
        held.reset(seed)
        for block in seen.task.blocks:
            half = block.shape.half_m
            assert block.shape.kind == "box"
            assert half[0] == half[1] == half[2]
        used = [block for block in held.task.blocks if not block.parked]
        for block in used:
            half = block.shape.half_m
            kinds.add((block.shape.kind, half[0] > half[1], half[2] > half[1]))
            assert half[1] <= 0.025  # the jaws still fit
    assert len(kinds) == 4


@pytest.mark.parametrize(
    ("family", "kind"), [(family, kind) for family in FAMILIES for kind in family.templates]
)
def test_every_template_is_understood(family: type[Family], kind: str) -> None:
    told = family.templates[kind]
    for template in (*told.seen, *told.held_out):
        thing, place = family.named("red", "blue", kind)
        request = parse_instruction(template.format(thing=thing, place=place))
        assert (request.family, request.kind) == (family.name, kind)
        assert request.thing == ("red" if "{thing}" in template else "")
        assert request.place == ("blue" if "{place}" in template else "")
