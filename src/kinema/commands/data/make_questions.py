"""`kinema data make questions`: pictures of seeded scenes with questions and answers, as LLaVA's JSON."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from kinema.card.load import load_card
from kinema.data.conversations import Conversation, Turn, read_conversations, write_conversations

FILE, _PARTS = "questions.json", "parts"
_PER_PART = 200  # scenes of one body and family
_EACH = 2  # questions of a kind about one picture
_MOVING = 0.2  # share of the scenes in which the robot has been moving already


def make_questions(
    out: Path, *, scenes: int, first_seed: int, bodies: Sequence[str], families: Sequence[str] = (),
    variation: str = "seen", image_size: int = 96,
) -> int:  # fmt: skip
    """Ask about `scenes` of every family of every body; returns how many questions there are in all.

    Finished parts of a run that was stopped are kept.
    """
    from kinema.worlds.tabletop.env import families_for

    jobs = [
        (body, family, first, min(_PER_PART, first_seed + scenes - first))
        for first in range(first_seed, first_seed + scenes, _PER_PART)
        for body in bodies
        for family in families_for(body)
        if not families or family in families
    ]
    found: list[Conversation] = []
    (out / _PARTS).mkdir(parents=True, exist_ok=True)
    for body, family, first, count in tqdm(jobs, unit="part"):
        name = f"{variation}_{body}_{family}_{first}_{count}".replace("+", "_")
        part = out / _PARTS / f"{name}.json"
        if not part.is_file():
            seeds = range(first, first + count)
            write_conversations(part, _asked(out / _PARTS / name, body, family, seeds, variation, image_size))
        found += read_conversations(part)
    write_conversations(out / FILE, found)
    return len(found)


def _asked(
    folder: Path, body: str, family: str, seeds: range, variation: str, image_size: int
) -> list[Conversation]:
    from kinema.worlds.tabletop.env import TabletopEnv
    from kinema.worlds.tabletop.experts.expert import Expert
    from kinema.worlds.tabletop.questions import Viewer, questions
    from kinema.worlds.variation import Variation

    folder.mkdir(exist_ok=True)
    card = load_card(body)
    env = TabletopEnv(card=card, family=family, variation=Variation.named(variation), image_size=image_size)
    found = []
    with closing(env), closing(Viewer(env)) as viewer:
        for seed in seeds:
            rng = np.random.default_rng([seed, 0x61736B])
            env.reset(seed)
            is_moving = bool(rng.random() < _MOVING)
            if is_moving:
                expert = Expert(env)
                for _ in range(int(rng.integers(1, env.max_steps // 2))):
                    env.step(expert.act())
                    if env.success():
                        break
            view = viewer.view(waits=not is_moving)
            path = folder / f"{seed}.png"
            Image.fromarray(view.image).save(path)
            for number, one in enumerate(questions(view, rng, _EACH)):
                label = {"kind": one.kind, **({"box": [round(x, 4) for x in one.box]} if one.box else {})}
                found.append(
                    Conversation(
                        id=f"{body}_{family}_{seed}_{number}", pictures=(path,),
                        turns=(Turn(question=one.question, answer=one.answer),), label=label,
                    )
                )  # fmt: skip
    return found
