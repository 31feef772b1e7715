"""The second and third stage of the policies: acting and answering in words, in one set of weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from kinema.data.conversations import read_conversations
from kinema.data.frames import Way
from kinema.data.lessons import ConversationSet
from kinema.data.source import Source
from kinema.model.policy import presets
from kinema.recipes.sources import made_sources
from kinema.schema import KinemaError
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.recipe import Recipe
from kinema.train.stages.cpt import WORDS_WEIGHT, CptStage, WordsConfig
from kinema.train.stages.policy import SftConfig

QUESTIONS = "questions"
DATA_COMMAND = (
    "kinema data make tabletop --out data/tabletop and kinema data make questions --out data/questions"
)


def nano_cpt() -> Recipe:
    """The tabletop, houses where there are any, and questions, at the published shares."""
    return _nano("nano_cpt", "the second stage: acting and answering in words, 96 px", None, WordsConfig())


def nano_sft() -> Recipe:
    """The same, every task and body alike, words at a tenth of the weight."""
    words = WordsConfig(bodies_alike=True, weight=WORDS_WEIGHT)
    summary = "the third stage: the same, tasks and bodies alike, words at a tenth of the weight"
    return _nano("nano_sft", summary, SftConfig(tasks_alike=True), words)


def nano_ask() -> Recipe:
    """Words for a policy that acts already: nine rows in ten are conversations."""
    words = WordsConfig(shares={"robot": 10, "vision_language": 90}, weight=1.0)
    recipe = _nano(
        "nano_ask", "words for a policy that acts (--init), 96 px, nine rows in ten questions", None, words
    )
    optim = OptimConfig(lr=1e-3, matrix_lr=None, warmup_steps=50, ema_decay=0.995)
    return replace(recipe, batch_size=32, loop=LoopConfig(steps=4000, save_every=100, optim=optim))


def conversations(data: Path) -> list[ConversationSet]:
    """What lies in data/questions and data/questions_*: every LLaVA-style JSON file, ours or anybody's."""
    files = [path for folder in sorted(data.glob(f"{QUESTIONS}*")) for path in sorted(folder.glob("*.json"))]
    if not files:
        raise KinemaError(
            f"no conversations below {data / QUESTIONS}; make them with: kinema data make questions --out "
            f"{data / QUESTIONS}, or put a LLaVA-style JSON file and its pictures there"
        )
    return [
        ConversationSet(name=f"{path.parent.name}/{path.stem}", conversations=found, weight=len(found))
        for path in files
        if (found := read_conversations(path))
    ]


def _sources(data: Path, pictures: Way) -> list[Source]:
    found = made_sources(data, pictures, image_size=96)
    houses = any(data.glob("navigation*/*/meta/info.json"))
    return found + (made_sources(data, pictures, image_size=96, world="navigation") if houses else [])


def _nano(name: str, summary: str, config: SftConfig | None, words: WordsConfig) -> Recipe:
    return Recipe(
        name=name,
        summary=summary,
        data_command=DATA_COMMAND,
        stage=partial(
            CptStage, policy=presets.nano, sources=_sources, conversations=conversations, config=config,
            words=words,
        ),
        batch_size=128,
        loop=LoopConfig(steps=8000, optim=OptimConfig(lr=1e-3, ema_decay=0.999)),
    )  # fmt: skip
