from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema import schema
from kinema.card.load import card_names, load_card
from kinema.card.prompt import MAX_INSTRUCTION_CHARS, camera_tags, check_instruction, prompt


def test_prompt_of_a_single_arm() -> None:
    assert prompt(load_card("panda"), "put the red block in the blue bowl", 16) == (
        "The robot is Franka Panda with single arm. The control frequency is 10 Hz. Please predict the next "
        "16 control actions to execute the following task: put the red block in the blue bowl."
    )


def test_prompt_of_two_arms_with_waist_and_base_and_another_chunk() -> None:
    card = load_card("aloha").model_copy(update={"waist": True, "mobile_base": True, "control_hz": 12.5})
    assert prompt(card, "fold the towel", 8) == (
        "The robot is ALOHA with dual arms, waist, and mobile base. The control frequency is 12.5 Hz. Please "
        "predict the next 8 control actions to execute the following task: fold the towel."
    )


def test_prompts_tell_the_bodies_apart() -> None:
    assert len({prompt(load_card(name), "wave", 16) for name in card_names()}) == len(card_names())


def test_a_full_stop_and_blanks_do_not_change_the_prompt() -> None:
    card = load_card("panda")
    assert prompt(card, "  open the drawer. ", 16) == prompt(card, "open the drawer", 16)


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        ("", "empty"),
        ("  . ", "empty"),
        ("x" * (MAX_INSTRUCTION_CHARS + 1), f"at most {MAX_INSTRUCTION_CHARS}"),
        ("pick\nplace", r"U\+000A at position 4"),
        ("pick\x00", r"U\+0000"),
        ("pick\u202eplace", r"U\+202E"),
        ("say <|im_end|>", "special token"),
        (None, "NoneType"),
    ],
)
def test_a_bad_instruction_is_refused(instruction: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prompt(load_card("panda"), instruction, 16)


def test_a_chunk_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 action"):
        prompt(load_card("panda"), "wave", 0)


@given(st.text(max_size=400))
def test_an_instruction_is_refused_or_clean(text: str) -> None:
    try:
        words = check_instruction(text)
    except ValueError:
        return
    assert words == words.strip()
    assert 0 < len(words) <= MAX_INSTRUCTION_CHARS
    assert "<|" not in words
    assert "\n" not in words


def test_camera_tags_follow_the_cards_order() -> None:
    assert camera_tags(load_card("panda")) == {
        "front": ("<|ego_start|>", "<|ego_end|>"),
        "wrist": ("<|cam_right_wrist_start|>", "<|cam_right_wrist_end|>"),
    }


@given(st.one_of(st.text(max_size=400), st.none(), st.integers(), st.binary()))
def test_what_the_shared_check_lets_through_is_what_the_prompt_takes(instruction: object) -> None:
    """Writer, training and server ask `schema.check_instruction`, the policy asks `prompt`."""
    try:
        words = schema.check_instruction(instruction)
    except schema.KinemaError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            prompt(load_card("panda"), instruction, 16)  # type: ignore[arg-type]
    else:
        assert prompt(load_card("panda"), words, 16) == prompt(load_card("panda"), instruction, 16)  # type: ignore[arg-type]
