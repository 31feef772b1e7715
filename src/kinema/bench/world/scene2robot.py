"""Judging Scene2Robot: a hand's scenes, each body's true film in them, and whoever claims to make it.

A scene is decided by its seed, and it is the same for every body. Beside what is judged stand the empty scene
(no robot at all), the depth composite (which is told the robot's depth by the simulator), and the true film
through the model's own code, the most that could be made. In each film the tool is looked for: a square of
the true film around the true tool, see `metrics/patches.py`. The true film itself is found without error.

Axes: N pictures, V views, S side.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kinema.bench.benchmark import TaskSpec
from kinema.bench.episode import EVALUATION_SEEDS_BELOW, EpisodeJob, EpisodeRecord, episode_seed
from kinema.bench.metrics.geometry import Pinhole
from kinema.bench.metrics.images import psnr, ssim
from kinema.bench.metrics.intervals import bootstrap95
from kinema.bench.metrics.patches import find_patch
from kinema.bench.tabletop import IMAGE_SIZE_PX
from kinema.bench.video import write_video
from kinema.card.load import load_card
from kinema.schema import KinemaError, Result
from kinema.space.rotation import matrix_from_quat

MEASURES = ("tool_px", "tool_mm", "found", "psnr_db", "robot_psnr_db", "ssim")
FILMS = ("made", "ceiling", "depth", "empty")
WITHIN_PX = 1.0  # of the median tool: what counts as a success
_LOOKED_AT_EVERY = 3  # pictures
_TRIES = 20  # scenes until the hand solves one
_ROBOT_DIFFERS = 25  # of 255: pixels of the true film that show the robot or its shadow
_ENLARGED = 2


class Composes(Protocol):
    """What puts a robot into a scene. Films are uint8 (N, V, S, S, 3)."""

    def compose(self, scene: np.ndarray, alone: np.ndarray) -> np.ndarray: ...

    def through_code(self, scene: np.ndarray, robot: np.ndarray) -> np.ndarray: ...


class StageBenchmark:
    """Tasks are "body/family". paired: the bodies that the model was shown in scenes."""

    name = "scene2robot"

    def __init__(self, bodies: Sequence[str], paired: Iterable[str], families: Sequence[str] = ()) -> None:
        from kinema.worlds.hand.stage import FAMILIES

        self._bodies, self._paired, self._families = bodies, set(paired), tuple(families) or FAMILIES

    def tasks(self) -> tuple[TaskSpec, ...]:
        return tuple(self._spec(body, family) for body in self._bodies for family in self._families)

    def _spec(self, body: str, family: str) -> TaskSpec:
        pairs = "paired" if body in self._paired else "never paired"
        return TaskSpec(
            name=f"{body}/{family}",
            card=body,
            control_hz=load_card(body).control_hz,
            groups={"pairs": pairs, "robot": body, "family": family},
        )

    def make(self, task: str) -> Any:
        body, family = task.split("/")
        return Stage(body, family)

    def provenance(self) -> Mapping[str, Any]:
        return {
            "protocol": "scenes that the hand solves; both films given, the robot in the scene judged",
            "image_size_px": IMAGE_SIZE_PX,
            "success": f"the tool's median error is at most {WITHIN_PX} px",
        }


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Films (N, V, S, S, 3); tool_m (N, 3) in the robot's frame, where the cameras (V) stand."""

    films: Mapping[str, np.ndarray]
    tool_m: np.ndarray
    cameras: tuple[Pinhole, ...]
    instruction: str


class Stage:
    """A hand's table and the same one with a body before it."""

    def __init__(self, body: str, family: str, image_size: int = IMAGE_SIZE_PX) -> None:
        from kinema.worlds.hand.stage import HandWorld, StagedWorld

        self._hand = HandWorld(family=family, image_size=image_size)
        self._robot = StagedWorld(card=load_card(body), family=family, image_size=image_size)

    def truth(self, seed: int) -> tuple[int, Truth]:
        """The scene of this seed, or of the first derived from it that the hand solves, and its seed."""
        from kinema.worlds.hand.aligned import aligned, composite, perform

        for attempt in range(_TRIES):
            drawn = int(np.random.SeedSequence([seed, attempt]).generate_state(1)[0]) % EVALUATION_SEEDS_BELOW
            drawn = drawn if attempt else seed
            done = perform(self._hand, drawn)
            if not done.success:
                continue
            path, streams = aligned(self._robot, done)
            streams["depth"] = composite(self._robot, path, done.empty)
            cameras = tuple(
                Pinhole(
                    position_m=np.array(camera.pos_m),
                    rotation=matrix_from_quat(np.array(camera.quat_wxyz)),
                    fovy_rad=camera.fovy_rad,
                )
                for camera in self._robot.card.cameras
            )
            return drawn, Truth(
                films={name: np.stack(list(views.values()), 1) for name, views in streams.items()},
                tool_m=path.tool_m,
                cameras=cameras,
                instruction=done.instruction,
            )
        raise KinemaError(f"the hand solves none of {_TRIES} scenes from seed {seed}")

    def close(self) -> None:
        self._hand.close()
        self._robot.close()


class StagePlayer:
    """Makes one scene's film and judges it beside the baselines; in place of `play_episode`."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def scene_seed(self, job: EpisodeJob) -> int:
        """Of a family and a number, the same for every body; never a seed of the training sets."""
        return episode_seed(self._seed, job.task.split("/")[1], job.index)

    def __call__(
        self, stage: Stage, composes: Composes, spec: TaskSpec, job: EpisodeJob, replan_steps: int
    ) -> EpisodeRecord:
        began = time.perf_counter()
        seed, truth = stage.truth(self.scene_seed(job))
        asked = time.perf_counter()
        made = composes.compose(truth.films["empty"], truth.films["robot_alone"])
        seconds = time.perf_counter() - asked
        ceiling = composes.through_code(truth.films["empty"], truth.films["robot"])
        films = {"made": made, "ceiling": ceiling, **{k: truth.films[k] for k in ("depth", "empty")}}
        scores = {name: judge(film, truth) for name, film in films.items()}
        if job.video:
            shown = [truth.films["human"], made, truth.films["robot"]]
            write_video(Path(job.video), strip(shown), spec.control_hz)
        near = scores["made"]["tool_median_px"] <= WITHIN_PX
        return EpisodeRecord(
            task=job.task,
            index=job.index,
            seed=seed,
            result=Result.SUCCESS if near else Result.FAILURE,
            cause=f"{truth.instruction}: tool {scores['made']['tool_px']:.2f} px from the true one",
            steps=len(made),
            measures={f"{name}.{key}": value for name, row in scores.items() for key, value in row.items()},
            timing={"seconds": round(time.perf_counter() - began, 3), "compose_s": round(seconds, 3)},
            video=Path(job.video).name if job.video else None,
        )


def judge(film: np.ndarray, truth: Truth) -> dict[str, float]:
    """How near a film is to the true one; `found` is the mean agreement of the tool's square."""
    true = truth.films["robot"]
    off_px, off_mm, agreed = [], [], []
    for view, camera in enumerate(truth.cameras):
        side = true.shape[2]
        places = camera.project(truth.tool_m) * side - 0.5  # the middle of pixel 0 is 0
        mm_per_px = 1e3 * _depth_m(camera, truth.tool_m) * 2 * np.tan(camera.fovy_rad / 2) / side
        for step in range(0, len(true), _LOOKED_AT_EVERY):
            if not ((places[step] >= 0) & (places[step] <= side - 1)).all():
                continue  # out of this picture
            found = find_patch(film[step, view], true[step, view], places[step])
            off_px.append(found.distance_px)
            off_mm.append(found.distance_px * mm_per_px[step])
            agreed.append(found.agreement)
    shows = np.abs(true.astype(np.int16) - truth.films["empty"]).max(-1) > _ROBOT_DIFFERS
    squared = np.square(film[shows].astype(np.float64) - true[shows]).mean() if shows.any() else 0.0
    scores = {
        "tool_px": np.mean(off_px) if off_px else math.nan,
        "tool_median_px": np.median(off_px) if off_px else math.nan,
        "tool_mm": np.mean(off_mm) if off_mm else math.nan,
        "found": np.mean(agreed) if agreed else math.nan,
        "psnr_db": psnr(film, true),
        "robot_psnr_db": 10 * np.log10(255.0**2 / max(squared, 1e-2)),
        "ssim": ssim(film, true),
    }
    return {name: round(float(value), 6) for name, value in scores.items() if math.isfinite(value)}


def _depth_m(camera: Pinhole, points_m: np.ndarray) -> np.ndarray:
    """How far points (..., 3) are before the camera's plane."""
    return -((points_m - camera.position_m) @ camera.rotation)[..., 2]


def strip(films: Sequence[np.ndarray]) -> np.ndarray:
    """Films (N, V, S, S, 3) from left to right, each with its views side by side, enlarged."""
    canvas = np.concatenate([film[:, view] for film in films for view in range(film.shape[1])], 2)
    return canvas.repeat(_ENLARGED, 1).repeat(_ENLARGED, 2)


def measures_table(records: Iterable[EpisodeRecord], paired: Iterable[str]) -> dict[str, Any]:
    """Means with intervals by body, of all paired and of all never paired bodies. Errors enter no mean."""
    shown = set(paired)
    groups: dict[str, list[EpisodeRecord]] = {}
    for record in records:
        body = record.task.split("/")[0]
        for name in ("paired bodies" if body in shown else "never paired bodies", body):
            groups.setdefault(name, []).append(record)
    return {name: _row(rows) for name, rows in sorted(groups.items(), key=lambda g: (" " not in g[0], g[0]))}


def _row(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    judged = [record for record in records if record.result != Result.ERROR]
    row: dict[str, Any] = {"films": len(judged), "errors": len(records) - len(judged)}
    for key in (f"{film}.{measure}" for film in FILMS for measure in MEASURES):
        values = [record.measures[key] for record in judged if key in record.measures]
        if values:
            low, high = bootstrap95(values)
            row[key] = {
                "mean": round(math.fsum(values) / len(values), 4),
                "ci95": [round(low, 4), round(high, 4)],
            }
    return row
