import pytest

from kinema.card.load import load_card
from kinema.schema import KinemaError
from kinema.worlds import DYNAMIC, TabletopEnv
from kinema.worlds.tabletop.families import FAMILIES
from kinema.worlds.tabletop.film_labels import THINGS, things
from kinema.worlds.tabletop.parse import EXAMPLES, MAX_CHARACTERS, parse_instruction
from kinema.worlds.tabletop.subgoals import sub_instructions


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_whole(family: type) -> None:
    """Its examples are its own, whoever reads first; other ways to say one ask for no more than it."""
    for text in family.examples:
        request = parse_instruction(text)
        assert request.family == family.name
        for other in sub_instructions(text, ("red", "green")):
            part = parse_instruction(other)
            assert part.family == family.name
            assert request.thing in ("", part.thing)
            assert (part.place, part.kind) == (request.place, request.kind)


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_build_the_scene_they_name(text: str) -> None:
    request = parse_instruction(text)
    robot = "aloha" if request.family == "lift_two_arms" else "panda"
    env = TabletopEnv(card=load_card(robot), family=request.family)
    for seed in range(4):
        env.reset(seed, request)
        assert env.instruction == text
        assert not env.success()
        task = env.task
        if request.family not in DYNAMIC:  # the film detector knows what stands still
            assert {thing.name for thing in things(env)} <= set(THINGS)
        if request.thing:
            asked = task.wanted if request.family == "tidy" else task.target.color
            assert asked == request.thing
        if request.family == "pick_place":
            assert task.place.color == request.place
            assert task.place.kind == request.kind
        if request.family == "stack":
            assert task.base.color == request.place
        if request.family == "push":
            assert task.region.color == request.place
        if request.family == "drawer":
            assert task.opening is (request.kind == "open")


def test_free_wording_is_understood() -> None:
    request = parse_instruction("Could you move the Green cube into a purple bowl, please?")
    assert (request.family, request.thing, request.place, request.kind) == (
        "pick_place",
        "green",
        "purple",
        "bowl",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("  ?! ", "empty"),
        ("dance", "no task"),
        ("put the rad block in the blue bowl", "did you mean 'red'"),
        ("put the block in the blue bowl", "which block"),
        ("stack the red block on the red block", "one colour"),
        ("drawer", "opened or closed"),
        ("red " * MAX_CHARACTERS, "characters"),
    ],
)
def test_refusals_say_why_and_what_works(text: str, reason: str) -> None:
    with pytest.raises(KinemaError, match=reason) as refusal:
        parse_instruction(text)
    for example in EXAMPLES:
        assert example in str(refusal.value)
        parse_instruction(example)
