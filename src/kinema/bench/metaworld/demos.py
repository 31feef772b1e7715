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
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from kinema.bench.metaworld.benchmark import TRAINING_SEEDS_FROM, MetaworldEnv
from kinema.bench.metaworld.tasks import GROUP_OF, interleaved
from kinema.schema import KinemaError


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Gaussian noise on the three position actions, correlated over a few steps, in stretches.

    Every episode draws its own sigma, so that some are nearly clean; between noisy stretches of `noisy_steps`
    the expert acts undisturbed for `clean_steps`, which lets it recover and shows how.
    """

    sigma: tuple[float, float] = (0.0, 0.25)  # of the executed action, whose range is [-1, 1]
    correlation: float = 0.8
    noisy_steps: tuple[int, int] = (8, 20)
    clean_steps: tuple[int, int] = (10, 25)


class NoiseProcess:
    """The noise of one episode: call `next` once per step for a (4,) addend, zero in clean stretches."""

    def __init__(self, noise: Noise, rng: np.random.Generator) -> None:
        self.noise = noise
        self.rng = rng
        self.sigma = float(rng.uniform(*noise.sigma))
        self._noisy = bool(rng.random() < 0.5)
        self._left = 0
        self._value = np.zeros(3)

    def next(self) -> np.ndarray:
        if self._left == 0:
            self._noisy = not self._noisy
            stretch = self.noise.noisy_steps if self._noisy else self.noise.clean_steps
            self._left = int(self.rng.integers(stretch[0], stretch[1] + 1))
            self._value = np.zeros(3)
        self._left -= 1
        if not self._noisy:
            return np.zeros(4)
        keep = self.noise.correlation
        fresh = self.rng.normal(size=3) * self.sigma * np.sqrt(1 - keep**2)
        self._value = keep * self._value + fresh
        return np.append(self._value, 0.0)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to collect. `max_steps` bounds one demonstration, `max_tries` the seeds spent on one task."""

    episodes: int = 50
    first_seed: int = TRAINING_SEEDS_FROM
    noise: Noise = Noise()
    rendered_every: int = 1
    tail_steps: int = 10  # recorded after the first success
    max_steps: int = 300
    max_tries: int = 400

    def __post_init__(self) -> None:
        if self.first_seed < TRAINING_SEEDS_FROM:
            raise KinemaError(
                f"demonstrations use seeds from {TRAINING_SEEDS_FROM} on (below are evaluation's); "
                f"got first_seed={self.first_seed}"
            )


def collect_metaworld(
    out_dir: Path,
    tasks: tuple[str, ...] = (),
    *,
    plan: Plan = Plan(),
    workers: int = 1,
) -> dict[str, dict]:
    """Collect `plan.episodes` successful demonstrations of every task under `out_dir`; returns meta by task.

    Tasks whose folder is whole are kept, so a killed run resumes with the first unfinished one.
    """
    out_dir = Path(out_dir)
    tasks = tasks or interleaved()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = {task: pool.submit(collect_task, task, out_dir / task, plan) for task in tasks}
        return {task: job.result() for task, job in jobs.items()}


def collect_task(task: str, folder: Path, plan: Plan) -> dict:
    """Collect one task into `folder` and return its meta; returns at once when the folder is whole."""
    if (folder / "meta.json").exists():
        return json.loads((folder / "meta.json").read_text())
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    env = MetaworldEnv(task)
    episodes: list[dict[str, np.ndarray]] = []
    tried = frames_written = 0
    with (folder / "frames.u8").open("wb") as file:
        while len(episodes) < plan.episodes and tried < plan.max_tries:
            images, episode = record(env, plan.first_seed + tried, plan)
            tried += 1
            if episode["success_step"] < 0:
                continue
            shown = episode["frame"] >= 0
            episode["frame"][shown] += frames_written
            frames_written += len(images)
            file.write(np.stack(images).tobytes())
            episodes.append(episode)
    env.close()
    if not episodes:
        raise KinemaError(f"{task}: no expert episode in {tried} tries succeeded")
    _write_steps(folder / "steps.npz", episodes)
    meta = {
        "task": task,
        "group": GROUP_OF[task],
        "instruction": env.instruction,
        "episodes": len(episodes),
        "tried": tried,
        "frames": frames_written,
        "steps": int(sum(len(e["state"]) for e in episodes)),
        "rendered_every": plan.rendered_every,
        "rendering": asdict(env.rendering),
        "noise": asdict(plan.noise),
        "seconds": round(time.perf_counter() - began, 1),
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))
    print(json.dumps({k: meta[k] for k in ("task", "episodes", "tried", "frames", "seconds")}), flush=True)
    return meta


def record(env: MetaworldEnv, seed: int, plan: Plan) -> tuple[list[np.ndarray], dict]:
    """One noisy expert episode: its pictures and its arrays; `success_step` is -1 when it failed."""
    env.reset(seed)
    noise = NoiseProcess(plan.noise, np.random.default_rng(seed))
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
        executed = np.clip(action + noise.next(), -1.0, 1.0).astype(np.float32)
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
