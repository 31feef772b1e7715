"""`kinema eval questions`: how often a policy answers rightly in words, on scenes that it has never seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kinema.bench import questions
from kinema.bench.questions import BLIND, MAJORITY, POLICY, Judged, Rate, rates
from kinema.bench.seeds import seed_of
from kinema.commands import policies
from kinema.commands.data.make_questions import FILE, make_questions
from kinema.commands.eval.judged import Sitting
from kinema.commands.terminal import table, writable
from kinema.data.conversations import Conversation, open_picture, read_conversations
from kinema.model.policy import artifact
from kinema.model.policy.asking import Asked, Asker

_BATCH = 32  # questions that are answered together
_UNSEEN = 1_000_000  # training's scenes have seeds from here on


def judge_questions(
    policy: str, data: str | None, *, bodies: Sequence[str], families: Sequence[str], variation: str,
    sitting: Sitting,
) -> None:  # fmt: skip
    """Print rates by kind, and write `questions.json` with every answer.

    data: a file of conversations to ask instead; of each the first turn is asked, by exact words
    """
    folder = policies.artifact_folder(policy)
    loaded = artifact.load(folder)
    asker = Asker(loaded)
    out = writable(sitting.out)
    seed = seed_of(sitting.seed, [policies.policy_factory(str(folder))])
    if data is None:
        scenes = out / "scenes"
        make_questions(
            scenes, scenes=sitting.episodes, first_seed=seed.value % (_UNSEEN - sitting.episodes),
            bodies=bodies or tuple(loaded.codecs), families=families, variation=variation,
        )  # fmt: skip
        data = str(scenes / FILE)
    found = read_conversations(Path(data))
    asked = [
        Judged(
            kind=str(one.label.get("kind", "words")), question=one.turns[0].question,
            answer=one.turns[0].answer, box=one.label.get("box"),
        )
        for one in found
    ]  # fmt: skip
    said = {
        POLICY: _answers(asker, found, blind=False), BLIND: _answers(asker, found, blind=True),
        MAJORITY: questions.majority(asked),
    }  # fmt: skip
    judged = {who: rates(asked, answers) for who, answers in said.items()}
    about = {
        "policy": str(folder), "seed": seed.value, "seed_rule": seed.rule, "variation": variation,
        "rates": questions.to_json(judged),
        "answers": [
            {"id": c.id, "question": one.question, "true": one.answer, "said": answer}
            for c, one, answer in zip(found, asked, said[POLICY])
        ],
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "questions.json").write_text(json.dumps(about, indent=1))
    print(_shown(judged))
    print(f"seed {seed.value} ({seed.rule})")
    print(f"results: {out / 'questions.json'}")


def _answers(asker: Asker, found: Sequence[Conversation], *, blind: bool) -> list[str]:
    """blind: every picture is shown as empty, mid grey"""
    said: list[str] = []
    for first in range(0, len(found), _BATCH):
        batch = []
        for one in found[first : first + _BATCH]:
            images = [open_picture(path) for path in one.pictures]
            shown = [np.full_like(image, 128) for image in images] if blind else images
            batch.append(Asked(question=one.turns[0].question, images=shown))
        said += asker.answers(batch)
    return said


def _shown(judged: Mapping[str, Mapping[str, Rate]]) -> str:
    rows = [
        (kind, rate.asked, *(str(of[kind]) for of in judged.values()))
        for kind, rate in judged[POLICY].items()
    ]
    return table(rows, ("kind", "asked", *(f"{who} (95 % interval)" for who in judged)))
