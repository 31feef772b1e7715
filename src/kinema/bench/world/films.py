"""Judging what is imagined: held-out scenes, the true film of each, and whoever claims to foresee it.

A scene is decided by its seed: the expert plays it in the true simulator, and then everything that imagines
gets the first frames and the sentence, nothing else. Beside what is judged stand the baselines: the first
frame repeated, the true film itself (what the eyes make of the truth), the true film through the model's own
video compression where one is given (the ceiling), a model without language where one is given, and the same
model told to move another thing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from kinema.bench.benchmark import Factory, TaskSpec
from kinema.bench.episode import EVALUATION_SEEDS_BELOW, EpisodeJob, EpisodeRecord, episode_file_name
from kinema.bench.metrics.following import FAMILIES
from kinema.bench.metrics.tracks import Eyes
from kinema.bench.tabletop import IMAGE_SIZE_PX, TabletopBenchmark
from kinema.bench.video import write_video
from kinema.bench.world.scene import Clip, Scene, play_other, play_scene
from kinema.bench.world.scores import FilmJudge, Judged
from kinema.card.load import load_card
from kinema.schema import Film, Imagines, KinemaError, Result

BODIES = ("panda", "ur5e", "aloha")
FILMS = "films"  # folder of the films' embeddings
_TRIES = 20  # scenes until the expert solves one within the clip
_ENLARGED = 2
_GAP_PX = 4

Reencodes = Callable[[Film], Film]


class WorldBenchmark(TabletopBenchmark):
    """Tasks are "body/family" of what can be judged from one clip."""

    name = "world"

    def __init__(
        self, bodies: Iterable[str] = BODIES, families: Iterable[str] = (), image_size: int = IMAGE_SIZE_PX
    ) -> None:
        super().__init__(bodies=bodies, families=tuple(families) or FAMILIES, image_size=image_size)

    def provenance(self) -> dict[str, Any]:
        return {
            **super().provenance(),
            "protocol": "first frames and sentence of scenes that the expert solves within the clip",
        }


@runtime_checkable
class KnowsTheWorld(Protocol):
    """Something that imagines by looking at the simulator itself."""

    def attach(self, environment: Any, seed: int, clip: Clip) -> None: ...


class RepeatFirstFrame:
    """Nothing ever happens."""

    provenance: ClassVar = {"policy": "repeat the first frame"}

    def __init__(self, frames: int = 13, fps: float = 10 / 3) -> None:
        self._frames, self._fps = frames, fps

    def imagine(
        self, images: Mapping[str, np.ndarray], instruction: str, card_name: str, *, seed: int = 0
    ) -> Film:
        first = np.stack(list(images.values()))
        frames = np.broadcast_to(first, (self._frames, *first.shape)).copy()
        return Film(
            frames=frames, cameras=tuple(images), fps=self._fps, card=card_name, instruction=instruction
        )


class TrueSimulator:
    """Privileged: plays the expert for the sentence it is given, the scene's own or the one with another
    thing named."""

    provenance: ClassVar = {"policy": "true simulator (privileged)"}

    def __init__(self) -> None:
        self._scene: tuple[Any, int, Clip] | None = None

    def attach(self, environment: Any, seed: int, clip: Clip) -> None:
        self._scene = (environment, seed, clip)

    def imagine(
        self, images: Mapping[str, np.ndarray], instruction: str, card_name: str, *, seed: int = 0
    ) -> Film:
        if self._scene is None:
            raise KinemaError("the true simulator must be attached to a scene before it can imagine")
        scene = play_scene(*self._scene)
        if instruction == scene.other:
            scene = play_other(*self._scene)
        elif instruction != scene.true.instruction:
            raise KinemaError(f"the scene has no expert for {instruction!r}")
        return scene.true


class WorldPlayer:
    """Plays one scene and judges every contestant's film of it; in place of `play_episode`.

    eyes:        builds the detector and encoder
    ceiling:     builds what sends a film through the model's video compression and back
    no_language: builds a model that does not hear the sentence
    """

    def __init__(
        self, out: str, eyes: Mapping[str, Any], ceiling: Mapping[str, Any] | None = None,
        no_language: Mapping[str, Any] | None = None, frames: int = 13, stride: int = 3,
    ) -> None:  # fmt: skip
        self._out, self._clip = Path(out), Clip(frames=frames, stride=stride)
        self._eyes: Eyes = Factory(**eyes).build()
        self._ceiling: Reencodes | None = Factory(**ceiling).build() if ceiling else None
        self._no_language: Imagines | None = Factory(**no_language).build() if no_language else None

    def __call__(
        self, environment: Any, imagines: Any, spec: TaskSpec, job: EpisodeJob, replan_steps: int
    ) -> EpisodeRecord:
        began = time.perf_counter()
        scene = solved_scene(environment, job.seed, self._clip)
        judge = FilmJudge(scene, self._eyes, load_card(spec.card))
        films, seconds = self._films(environment, imagines, scene)
        judged: dict[str, Judged] = {}
        for name, film in films.items():
            told = scene.other if name == "other" else scene.true.instruction
            judged[name] = judge.judge(film, told)
        self._keep(job, judged)
        if job.video:
            write_video(Path(job.video), side_by_side(scene.true, films["imagined"]), scene.true.fps)
        main = judged["imagined"]
        return EpisodeRecord(
            task=job.task,
            index=job.index,
            seed=job.seed,
            result=Result.SUCCESS if main.scores["followed"] else Result.FAILURE,
            cause=f"{scene.true.instruction}: {main.cause}",
            steps=len(scene.true.frames) - 1,
            measures={f"{name}.{key}": v for name, j in judged.items() for key, v in j.scores.items()},
            timing={"seconds": round(time.perf_counter() - began, 3), "imagine_s": round(seconds, 3)},
            video=Path(job.video).name if job.video else None,
        )

    def _films(self, environment: Any, imagines: Imagines, scene: Scene) -> tuple[dict[str, Film], float]:
        """Every contestant's film by name, and how long the judged one took."""
        true = scene.true
        if isinstance(imagines, KnowsTheWorld):
            imagines.attach(environment, scene.seed, self._clip)

        def ask(who: Imagines, sentence: str) -> Film:
            return who.imagine(scene.images, sentence, true.card, seed=scene.seed)

        began = time.perf_counter()
        films = {"imagined": ask(imagines, true.instruction)}
        seconds = time.perf_counter() - began
        films["repeat"] = ask(RepeatFirstFrame(self._clip.frames, true.fps), true.instruction)
        films["true"] = true
        if self._ceiling:
            films["ceiling"] = self._ceiling(true)
        if self._no_language:
            films["no_language"] = ask(self._no_language, true.instruction)
        if scene.other:
            films["other"] = ask(imagines, scene.other)
        return films, seconds

    def _keep(self, job: EpisodeJob, judged: Mapping[str, Judged]) -> None:
        """The films' embeddings, for distances between sets of films."""
        path = self._out / FILMS / f"{episode_file_name(job)}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        arrays = {name: found.embedding for name, found in judged.items() if name != "other"}
        np.savez(partial, **arrays)  # type: ignore[arg-type]
        partial.replace(path)


def solved_scene(environment: Any, seed: int, clip: Clip) -> Scene:
    """The scene of this seed, or of the first seed derived from it that the expert solves in the clip."""
    for attempt in range(_TRIES):
        drawn = int(np.random.SeedSequence([seed, attempt]).generate_state(1)[0] % EVALUATION_SEEDS_BELOW)
        scene = play_scene(environment, drawn if attempt else seed, clip)
        if scene.solved:
            return scene
    raise KinemaError(f"the expert solves none of {_TRIES} scenes within {clip.steps} steps")


def read_embeddings(out: Path, records: Iterable[EpisodeRecord]) -> dict[str, np.ndarray]:
    """Embeddings (N, D) by contestant, of the films whose records are given, in their order."""
    found: dict[str, list[np.ndarray]] = {}
    for record in records:
        job = EpisodeJob(task=record.task, index=record.index, seed=record.seed)
        path = out / FILMS / f"{episode_file_name(job)}.npz"
        if record.result == Result.ERROR or not path.exists():
            continue
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                found.setdefault(name, []).append(file[name])
    return {name: np.stack(rows) for name, rows in found.items()}


def side_by_side(true: Film, imagined: Film) -> np.ndarray:
    """uint8 (F, H, W, 3): the true film above the imagined one, views beside each other, enlarged."""
    rows = [np.concatenate(list(film.frames.transpose(1, 0, 2, 3, 4)), axis=2) for film in (true, imagined)]
    gap = np.full((len(rows[0]), _GAP_PX, rows[0].shape[2], 3), 255, np.uint8)
    canvas = np.concatenate([rows[0], gap, rows[1]], axis=1)
    return canvas.repeat(_ENLARGED, axis=1).repeat(_ENLARGED, axis=2)
