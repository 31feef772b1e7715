"""What a policy is told of its body: the prompt sentence and the tags around its images.

The sentence is the embodiment prompt of Qwen-VLA (arXiv 2605.30280), manipulation form.
"""

from __future__ import annotations

import unicodedata

from kinema.card.card import EmbodimentCard

MAX_INSTRUCTION_CHARS = 400


def prompt(card: EmbodimentCard, instruction: str, steps: int) -> str:
    """The prompt for this body and instruction, which asks for so many actions.

    Raises ValueError saying what is wrong with the instruction (see `check_instruction`) or the steps.
    """
    if steps < 1:
        raise ValueError(f"a chunk has at least 1 action, got {steps}")
    if card.control in ("hand", "wrist"):
        return f"The person shows with a {card.robot_tag}: {check_instruction(instruction)}."
    if card.control == "waypoints":
        return (
            f"The robot is {card.robot_tag}. The control frequency is {card.control_hz:g} Hz. "
            f"Please predict the next {steps} waypoints to execute the following task: "
            f"{check_instruction(instruction)}."
        )
    if not card.arms:
        return (
            f"The vehicle is {card.robot_tag}. The control frequency is {card.control_hz:g} Hz. "
            f"Please predict the next {steps} speeds and steering angles to execute the following task: "
            f"{check_instruction(instruction)}."
        )
    arms = "single arm" if len(card.arms) == 1 else "dual arms"
    body = f"{arms}{', waist' if card.waist else ''}{', and mobile base' if card.mobile_base else ''}"
    return (
        f"The robot is {card.robot_tag} with {body}. The control frequency is {card.control_hz:g} Hz. "
        f"Please predict the next {steps} control actions to execute the following task: "
        f"{check_instruction(instruction)}."
    )


def asked_steps(card: EmbodimentCard, horizon: int) -> int:
    """How many actions a body is asked for: a network's horizon, or fewer where its own chunk is shorter.

    What is beyond them carries no loss in training and is not part of an answer.
    """
    return min(card.chunk, horizon)


def check_instruction(instruction: object) -> str:
    """The instruction without outer blanks and without a final full stop, which the prompt brings itself.

    Raises ValueError when it is not text, empty, too long, or holds control characters or special tokens.
    """
    if not isinstance(instruction, str):
        raise ValueError(f"an instruction is text, got {type(instruction).__name__}")
    words = instruction.strip().removesuffix(".").rstrip()
    if not words:
        raise ValueError(
            "the instruction is empty; say what to do, for example 'put the red block in the bowl'"
        )
    if len(words) > MAX_INSTRUCTION_CHARS:
        raise ValueError(
            f"the instruction has {len(words)} characters; at most {MAX_INSTRUCTION_CHARS} are allowed"
        )
    # Cc: control characters; Cf: invisible ones, such as writing-direction marks; Cs: broken surrogates
    for place, char in enumerate(words):
        if unicodedata.category(char) in ("Cc", "Cf", "Cs"):
            raise ValueError(f"the instruction has a control character U+{ord(char):04X} at position {place}")
    if "<|" in words:
        raise ValueError("the instruction has '<|', which begins a special token; write it without")
    return words


def camera_tags(card: EmbodimentCard) -> dict[str, tuple[str, str]]:
    """The special tokens before and after each camera's image, by camera name in the card's order."""
    return {camera.name: (f"<|{camera.tag}_start|>", f"<|{camera.tag}_end|>") for camera in card.cameras}
