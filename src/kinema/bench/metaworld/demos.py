"""Meta-World demonstrations from the package's own experts, as raw arrays that training can map into memory.

The executed action is the expert's plus noise that comes and goes, so that the data holds states off the
expert's path; the recorded label is always what the expert would do from the state that was reached. Layout
of one task's folder (no pickle anywhere):

    frames.u8    uint8 (N, size, size, 3), raw: the pictures, one for every `rendered_every`-th step
    steps.npz    step arrays (T, ...): frame (index into frames or -1), state, action, executed, points,
                 observation (the package's 39 privileged numbers); episode arrays (E): start, length, seed,
                 success_step, noise
    meta.json    task, instruction, group, rendering, counts, seconds: written last, marks the folder whole
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kinema.bench.disturbance import Disturbance, Noise
from kinema.bench.metaworld.benchmark import TRAINING_SEEDS_FROM, MetaworldEnv, rendering_of
from kinema.bench.metaworld.protocols import PROTOCOLS, Rendering
from kinema.bench.metaworld.tasks import GROUP_OF, interleaved
from kinema.pool.backend import backend
from kinema.pool.pool import Lost, Pool
from kinema.schema import KinemaError

Demonstration = tuple[list[np.ndarray], dict]  # pictures and arrays, as `record` makes them


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to collect. `max_steps` bounds one demonstration, `max_tries` the seeds spent on one task.

    protocol: whose sentences and pictures; size_px: None: as large as that protocol's demonstrations are
    """

    protocol: str = "kinema"
    episodes: int = 50
    first_seed: int = TRAINING_SEEDS_FROM
    noise: Noise = field(default_factory=Noise)
    rendered_every: int = 1
    size_px: int | None = None
    tail_steps: int = 10  # recorded after the first success
    max_steps: int = 300
    max_tries: int = 400

    def __post_init__(self) -> None:
        if self.first_seed < TRAINING_SEEDS_FROM:
            raise KinemaError(
                f"demonstrations use seeds from {TRAINING_SEEDS_FROM} on (below are evaluation's); "
                f"got first_seed={self.first_seed}"
            )

    @property
    def rendering(self) -> Rendering:
        return rendering_of(self.protocol, self.size_px, demonstrated=True)

    def env(self, task: str) -> MetaworldEnv:
        return MetaworldEnv(task, self.protocol, self.size_px, demonstrated=True)


@dataclass(frozen=True)
class Demonstrating:
    """Work for a pool: demonstrations by task and seed."""

    plan: Plan

    def files(self) -> tuple[str, ...]:
        return ()

    def moved(self, places: Mapping[str, str]) -> Demonstrating:
        return self

    def begin(self) -> Demonstrator:
        return Demonstrator(self.plan)


class Demonstrator:
    """Plays one episode after the other, with one environment at a time."""

    said: Mapping[str, Any] = {}

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._task = ""
        self._env: MetaworldEnv | None = None

    def do(self, job: tuple[str, int]) -> Demonstration:
        task, seed = job
        if self._env is None or task != self._task:
            self.close()
            self._env, self._task = self._plan.env(task), task
        return record(self._env, seed, self._plan)

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None


def collect_metaworld(
    out_dir: Path,
    tasks: tuple[str, ...] = (),
    *,
    plan: Plan = Plan(),
    workers: int = 1,
    ray: str | None = None,
) -> dict[str, dict]:
    """Collect `plan.episodes` successful demonstrations of every task under `out_dir`; returns meta by task.

    Tasks whose folder is whole are kept, so a killed run resumes with the first unfinished one. Raises
    KinemaError where their pictures are made otherwise.
    ray: the address of a cluster on whose nodes the workers are, see `kinema.pool.on_ray`
    """
    tasks = tasks or interleaved()
    whole = {task: Path(out_dir) / task / "meta.json" for task in tasks}
    missing = [task for task in tasks if not whole[task].exists()]
    for task in set(tasks) - set(missing):
        _require_same(whole[task].parent, json.loads(whole[task].read_text())["rendering"], plan)
    with Pool(backend(ray), Demonstrating(plan), workers if missing else 0) as pool:
        for task in missing:
            _collect_task(pool, task, whole[task].parent, plan)
    return {task: json.loads(path.read_text()) for task, path in whole.items()}


def _require_same(folder: Path, made: Mapping[str, Any], plan: Plan) -> None:
    """Raise KinemaError where a folder's pictures were made otherwise than the plan's."""
    wanted = json.loads(json.dumps(asdict(plan.rendering)))
    unlike = [
        f"{name} {made.get(name)}, not {wanted[name]}" for name in wanted if made.get(name) != wanted[name]
    ]
    if unlike:
        raise KinemaError(f"{folder} has other pictures ({'; '.join(unlike)}); use another folder")


def _collect_task(pool: Pool[tuple[str, int], Demonstration], task: str, folder: Path, plan: Plan) -> None:
    """Collect one task into `folder`: the first so many seeds that the expert solves, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    episodes: list[dict[str, np.ndarray]] = []
    tried = frames_written = 0
    with (folder / "frames.u8").open("wb") as file:
        while (lacking := min(plan.episodes - len(episodes), plan.max_tries - tried)) > 0:
            seeds = range(plan.first_seed + tried, plan.first_seed + tried + lacking)
            for (_, seed), found in pool.run_in_order([(task, seed) for seed in seeds]):
                if isinstance(found, Lost):
                    raise KinemaError(f"{task}, seed {seed}: {found.cause}")
                images, episode = found
                tried += 1
                if episode["success_step"] < 0:
                    continue
                episode["frame"] = np.where(episode["frame"] < 0, -1, episode["frame"] + frames_written)
                frames_written += len(images)
                file.write(np.stack(images).tobytes())
                episodes.append(episode)
    if not episodes:
        raise KinemaError(f"{task}: no expert episode in {tried} tries succeeded")
    _write_steps(folder / "steps.npz", episodes)
    meta = {
        "task": task,
        "group": GROUP_OF[task],
        "instruction": PROTOCOLS[plan.protocol].instructions[task],
        "episodes": len(episodes),
        "tried": tried,
        "frames": frames_written,
        "steps": int(sum(len(e["state"]) for e in episodes)),
        "rendered_every": plan.rendered_every,
        "rendering": asdict(plan.rendering),
        "noise": asdict(plan.noise),
        "seconds": round(time.perf_counter() - began, 1),
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))
    print(json.dumps({k: meta[k] for k in ("task", "episodes", "tried", "frames", "seconds")}), flush=True)


def record(env: MetaworldEnv, seed: int, plan: Plan) -> tuple[list[np.ndarray], dict]:
    """One noisy expert episode: its pictures and its arrays; `success_step` is -1 when it failed."""
    env.reset(seed)
    noise = Disturbance(plan.noise, np.random.default_rng(seed))
    images: list[np.ndarray] = []
    rows: dict[str, list] = {k: [] for k in ("frame", "state", "action", "executed", "points", "observation")}
    success_step, end = -1, plan.max_steps
    for step in range(plan.max_steps):
        if step >= end:
            break
        render = step % plan.rendered_every == 0
        rows["frame"].append(len(images) if render else -1)
        if render:
            images.append(env.render())
        action = env.expert_action()
        executed = np.clip(action + np.append(noise.next(), 0.0), -1.0, 1.0).astype(np.float32)
        rows["state"].append(env.state())
        rows["action"].append(action)
        rows["executed"].append(executed)
        rows["points"].append(env.points())
        rows["observation"].append(env.full_observation.astype(np.float32))
        env.step(executed)
        if success_step < 0 and env.success():
            success_step, end = step, step + 1 + plan.tail_steps
    arrays = {name: np.asarray(values) for name, values in rows.items()}
    return images, arrays | {"success_step": success_step, "seed": seed, "noise": noise.sigma}


def _write_steps(path: Path, episodes: list[dict]) -> None:
    lengths = np.array([len(e["state"]) for e in episodes])
    per_step = ("frame", "state", "action", "executed", "points", "observation")
    arrays = {name: np.concatenate([e[name] for e in episodes]) for name in per_step}
    per_episode = {name: np.array([e[name] for e in episodes]) for name in ("seed", "success_step", "noise")}
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    np.savez(path, allow_pickle=False, **arrays, **per_episode, start=starts, length=lengths)
