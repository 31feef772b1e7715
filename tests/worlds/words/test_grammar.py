"""Laws of the grammar, over many scenes: sentence -> meaning -> the one thing that is meant."""

from functools import cache

import numpy as np
import pytest

from kinema.schema import KinemaError
from kinema.worlds.words import grammar, lexicon
from kinema.worlds.words.grammar import ACTIONS, PHRASES, Command
from kinema.worlds.words.reference import PICKS, Reference, Sight, is_clear, told_of

SCENES = 40
TABLES = (lexicon.KINDS, lexicon.COLORS, lexicon.PICKS_OF_TWO, lexicon.PICKS_OF_MANY)


def scene(rng: np.random.Generator) -> list[Sight]:
    """Three to eight things of few kinds and colours, so that some are alike."""
    kinds = rng.choice(list(lexicon.KINDS), 3)
    colors = rng.choice(list(lexicon.COLORS), 3)
    return [
        Sight(
            kind=str(rng.choice(kinds)),
            color=str(rng.choice(colors)),
            size_m=float(rng.uniform(0.02, 0.1)),
            place_m=(float(rng.uniform(0.3, 0.6)), float(rng.uniform(-0.2, 0.2))),
        )
        for _ in range(rng.integers(3, 9))
    ]


@cache
def told(seed: int, held_out: bool) -> list[tuple[list[Sight], int, Command, str]]:
    """Every action asked for in a scene, of the things that can be told apart."""
    rng = np.random.default_rng(seed)
    things, said = scene(rng), []
    for action, ways in ACTIONS.items():
        target, place = (int(n) for n in rng.permutation(len(things))[:2])
        slots = ways.seen[0]
        try:
            command = Command(
                action=action,
                thing=grammar.refer(things, target, rng, held_out) if "{thing}" in slots else None,
                place=grammar.refer(things, place, rng, held_out) if "{place}" in slots else None,
            )
        except KinemaError:
            continue
        said.append((things, target, command, grammar.say(command, things, rng, held_out)))
    return said


@pytest.mark.parametrize("held_out", [False, True])
def test_every_sentence_means_what_it_was_made_of_and_one_thing_alone(held_out: bool) -> None:
    structures = set()
    for seed in range(SCENES):
        for things, target, command, text in told(seed, held_out):
            read = grammar.read(text)
            assert read == command, text
            if read.thing is not None:
                structures.add(read.thing.said)
                assert read.thing.meant(things) == target, text
    due = {said for said, ways in PHRASES.items() if (ways.held_out if held_out else ways.seen)}
    assert structures == due


def test_held_out_words_and_structures_never_occur_in_training() -> None:
    seen = [text for seed in range(SCENES) for *_, text in told(seed, False)]
    meant = [command.thing for seed in range(SCENES) for *_, command, _ in told(seed, False)]
    assert all(PHRASES[reference.said].seen for reference in meant if reference)
    names = [name for table in TABLES for ways in table.values() for name in ways.held_out]
    known = {name for table in TABLES for ways in table.values() for name in ways.seen}
    assert not known & set(names)
    words = {word for text in seen for word in text.replace(",", "").split()}
    in_training = {word for name in known for word in (*name.split(), *lexicon.plural(name).split())}
    held_out_words = {word for name in names for word in name.split()} - in_training
    assert len(held_out_words) > 20
    assert not words & held_out_words
    for seed in range(SCENES):
        for *_, text in told(seed, True):
            assert text not in seen


@pytest.mark.parametrize("ways", [*ACTIONS.values(), *PHRASES.values()])
def test_a_meaning_has_ways_of_its_own(ways: lexicon.Ways) -> None:
    assert ways.held_out
    assert not set(ways.seen) & set(ways.held_out)


def test_a_word_names_one_kind_alone() -> None:
    for table in TABLES:
        names = [name for ways in table.values() for name in ways.all()]
        assert len(names) == len(set(names))
    plurals = [lexicon.plural(name) for ways in lexicon.KINDS.values() for name in ways.all()]
    assert len(plurals) == len(set(plurals))


def test_what_is_said_of_a_thing_is_clear() -> None:
    for seed in range(SCENES):
        things = scene(np.random.default_rng(seed))
        for target in range(len(things)):
            for reference in told_of(things, target)[::7]:
                if is_clear(reference, things, target):
                    moved = [Sight(**{**vars(t), "size_m": 1.001 * t.size_m}) for t in things]
                    assert reference.meant(moved) == target


MUGS = [
    Sight(kind="mug", color=color, size_m=size, place_m=(0.4, left))
    for color, size, left in (("red", 0.04, 0.1), ("blue", 0.05, 0.0), ("blue", 0.06, -0.1))
] + [Sight(kind="bowl", color="green", size_m=0.1, place_m=(0.5, -0.15))]


@pytest.mark.parametrize(
    ("phrase", "meant"),
    [
        ("the left mug", 0),
        ("the mug nearest the bowl", 2),
        ("the smallest one of the mugs", 0),
        ("the mug that is not blue", 0),
        ("the red thing", 0),
        ("the biggest thing", 3),
        ("the left-hand blue cup", 1),
    ],
)
def test_relations_mean_what_they_say(phrase: str, meant: int) -> None:
    command = grammar.read(f"Please put {phrase} in the green bowl.")
    assert command.action == "put in"
    assert command.place == Reference(kind="bowl", color="green")
    assert command.thing is not None
    assert command.thing.meant(MUGS) == meant


@pytest.mark.parametrize("phrase", ["the mug", "the blue mug", "the mug that is not red"])
def test_what_fits_several_things_is_refused(phrase: str) -> None:
    thing = grammar.read(f"put {phrase} in the bowl").thing
    assert thing is not None
    with pytest.raises(KinemaError, match="things here may be"):
        thing.meant(MUGS)
    assert set(PICKS) == set(lexicon.PICKS_OF_TWO)


@pytest.mark.parametrize("text", ["dance", "put the unicorn in the bowl", "put the mug", ""])
def test_what_is_no_sentence_of_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(KinemaError, match="no meaning"):
        grammar.read(text)
