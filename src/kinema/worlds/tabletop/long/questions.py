"""What can be asked about a look at a long task, and the world's answer: is this step done?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kinema.worlds.tabletop.long.env import LongEnv

_UNDONE = 4  # of the steps that are not done, so many are asked about at every look


def possible_steps(env: LongEnv) -> Iterator[str]:
    """Every step that makes sense on this table."""
    task = env.task.task
    for block in task.blocks:
        for color, kind in task.places:
            if color != block:
                yield f"put the {block} block {'in' if kind == 'bowl' else 'on'} the {color} {kind}"
        if task.box:
            yield f"put the {block} block in the box"
        yield from (
            f"stack the {block} block on the {other} block" for other in task.blocks if other != block
        )
    yield from (f"press the {button} button" for button in task.buttons)


def questions(env: LongEnv, step: str, rng: np.random.Generator) -> list[tuple[str, bool]]:
    """Steps and whether each is done: the present one, all that are done, and some that are not."""
    possible = dict.fromkeys([step, *possible_steps(env)] if step else possible_steps(env))
    answers = {text: env.task.step_of(text).holds(env.scene) for text in possible}
    undone = [text for text, done in answers.items() if not done and text != step]
    asked = {step, *(text for text, done in answers.items() if done)}
    asked |= {undone[i] for i in rng.permutation(len(undone))[:_UNDONE]}
    return [(text, answers[text]) for text in answers if text in asked]
