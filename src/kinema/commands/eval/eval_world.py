"""`kinema eval world`: judge what a world model imagines on held-out scenes, beside its baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema.commands.eval.judged import Sitting, finish, headline, play
from kinema.commands.imagine.imagine import world_folder
from kinema.commands.shipped import ARTIFACTS
from kinema.commands.terminal import table
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.bench.benchmark import Factory
    from kinema.bench.episode import EpisodeRecord

_BASELINES = {
    "repeat": "kinema.bench.world.films:RepeatFirstFrame",
    "expert": "kinema.bench.world.films:TrueSimulator",
}
_PRINTED = ("followed", "right_thing", "hsd", "ndtw", "dyn", "psnr_db", "ssim", "feature_distance")


def evaluate_world(model: str, *, bodies: Sequence[str], tasks: Sequence[str], sitting: Sitting) -> None:
    """Judge a model (shipped, a folder, or one of the baselines) and write results, table and gallery.

    Exits with 1 when a scene crashed. Raises KinemaError for a body that the model was not trained on.
    """
    from kinema.bench.benchmark import Factory
    from kinema.bench.seeds import seed_of
    from kinema.bench.settings import RunSettings
    from kinema.bench.world.films import BODIES, read_embeddings
    from kinema.bench.world.gallery import write_gallery
    from kinema.bench.world.scores import save_table, world_table

    told = _taught(model)
    taught = [body for body in told if body in BODIES]  # it may also know hands and cars
    if unknown := [body for body in bodies if told and body not in told]:
        raise KinemaError(
            f"world model {model!r} was not trained on {', '.join(unknown)}; it knows {', '.join(told)}"
        )
    judged = {"bodies": list(bodies or taught or BODIES)}
    eyes, imagines, out = eyes_factory(), imagines_factory(model), sitting.out
    arguments: dict[str, Any] = {"out": str(out), "eyes": asdict(eyes), **_beside(model)}
    drawn = seed_of(sitting.seed, [imagines])
    settings = RunSettings(
        benchmark=Factory(target="kinema.bench.world.films:WorldBenchmark", arguments=judged),
        policy=imagines,
        play=Factory(target="kinema.bench.world.films:WorldPlayer", arguments=arguments),
        episodes=sitting.episodes,
        seed=drawn.value,
        seed_rule=drawn.rule,
        tasks=tuple(tasks),
    )
    results = play(settings, sitting)
    records = _records(out, results.tasks, sitting.episodes)
    numbers = world_table(records, read_embeddings(out, records), _described(eyes))
    save_table(out, numbers)
    gallery = write_gallery(out, numbers, records, results.provenance)
    print(summary(numbers))
    print(headline(results, "films follow the sentence"))
    print(f"measures: {out / 'world.json'}")
    print(f"gallery:  {gallery}")
    finish(out, results)


def _taught(model: str) -> tuple[str, ...]:
    """The bodies whose clips a world model was trained on; it refuses others. Empty where nobody said."""
    from kinema.model.stored import read_json

    if model in _BASELINES:
        return ()
    about = read_json(world_folder(model, others=_BASELINES) / "world.json", "world model")
    return tuple(about.get("provenance", {}).get("clips", ()))


def eyes_factory() -> Factory:
    """What builds the shipped detector and encoder. Raises KinemaError when none is shipped."""
    from kinema.bench.benchmark import Factory

    folder = ARTIFACTS / "film_detector"
    if not folder.exists():
        raise KinemaError("no film detector is shipped here; train one with: kinema train nano_detector")
    return Factory(target="kinema.model.film.eyes:load_eyes", arguments={"folder": str(folder)})


def imagines_factory(model: str, *, others: Sequence[str] = ()) -> Factory:
    """What builds whoever imagines: a baseline by name, the shipped world artifact or one in a folder.

    Raises KinemaError with the choices, and `others` that the caller knows beside them.
    """
    from kinema.bench.benchmark import Factory

    if model in _BASELINES:
        return Factory(target=_BASELINES[model])
    folder = world_folder(model, others=(*_BASELINES, *others))
    return Factory(target="kinema.commands.eval.world_twins:world_model", arguments={"folder": str(folder)})


def _beside(model: str) -> dict[str, Any]:
    """The baselines that come from the model itself: its compression, and its twin without language."""
    if model in _BASELINES:
        return {}
    arguments = dict(imagines_factory(model).arguments)
    return {
        "ceiling": {"target": "kinema.commands.eval.world_twins:through_compression", "arguments": arguments},
        "no_language": {
            "target": "kinema.commands.eval.world_twins:without_language",
            "arguments": arguments,
        },
    }


def _described(eyes: Factory) -> dict[str, Any]:
    """Which detector and encoder the numbers were made with, and how wrong it is on true films."""
    built = eyes.build()
    return {"name": "kinema film_detector", "version": built.version, "error": dict(built.error)}


def _records(out: Path, tasks: Mapping[str, Any], episodes: int) -> list[EpisodeRecord]:
    from kinema.bench.journal import read_records

    kept = [record for record in read_records(out) if record.task in tasks and record.index < episodes]
    return sorted(kept, key=lambda record: (record.task, record.index))


def summary(numbers: Mapping[str, Any]) -> str:
    """A few measures of every contestant as a table for the terminal."""
    rows = []
    for name, row in numbers["contestants"].items():
        cells = [f"{row[m]['mean']:.3f}" if m in row else "-" for m in _PRINTED]
        rows.append((name, *cells))
    lines = [table(rows, ("film", *_PRINTED))]
    if numbers["errors"]:
        lines.append(f"{numbers['errors']} scenes crashed and enter no mean of this table")
    return "\n".join(lines)
