"""The prompt sentence of a body (Qwen-VLA, arXiv 2605.30280, section 3.2). Manipulation form."""

from __future__ import annotations

from kinema.card.card import EmbodimentCard


def prompt(card: EmbodimentCard, instruction: str, chunk: int | None = None) -> str:
    arms = "single arm" if len(card.arms) == 1 else "dual arms"
    extra = (", waist" if card.waist else "") + (", and mobile base" if card.mobile_base else "")
    return (
        f"The robot is {card.robot_tag} with {arms}{extra}. The control frequency is {card.control_hz:g} Hz. "
        f"Please predict the next {chunk or card.chunk} control actions to execute the following task: {instruction}."
    )
