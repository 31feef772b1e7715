import pytest

from kinema.card.load import load_card
from kinema.schema import KinemaError
from kinema.worlds import TabletopEnv
from kinema.worlds.tabletop.parse import EXAMPLES, MAX_CHARACTERS, parse_instruction


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
