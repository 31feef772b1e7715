"""Our houses as R2R-CE has its scans: episode files with their houses beside them, written and played.

A split is a folder: SPLIT, its truth, and the houses that its episodes name, in ProcTHOR's JSON. The expert's
waypoints stand in the truth as the nearest of R2R-CE's actions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kinema.bench.navigation.episodes import (
    ACTIONS,
    Episode,
    Truth,
    off_the_floor,
    on_the_floor,
    rotation_of,
    write_episodes,
)
from kinema.schema import KinemaError
from kinema.worlds.house.env import HouseEnv
from kinema.worlds.house.errands import Errand
from kinema.worlds.house.expert import HouseExpert
from kinema.worlds.house.free_space import FreeSpace
from kinema.worlds.house.house import House
from kinema.worlds.house.procthor import read_house, to_procthor

SPLIT = "episodes.json.gz"
_EVERY = 20  # cells of the way between two points of its reference


def write_split(folder: Path, env: HouseEnv, seeds: Iterable[int]) -> int:
    """Write the errands of these seeds and their houses into a folder; returns how many there are."""
    episodes = []
    for seed in seeds:
        env.reset(seed)
        expert, actions = HouseExpert(env), []
        while env.steps < env.max_steps and not env.success():
            actions.append(expert.act())
            env.step(actions[-1])
        scene = Path("houses") / str(seed) / f"{seed}.json"
        (folder / scene).parent.mkdir(parents=True, exist_ok=True)
        (folder / scene).write_text(json.dumps(to_procthor(env.house)))
        truth = Truth(locations=off_the_floor(env.positions), actions=tuple(map(_nearest, actions)))
        episodes.append(_episode(str(seed), str(scene), env.errand, float(env.distances_m[0]), truth))
    write_episodes(folder / SPLIT, episodes)
    return len(episodes)


def _nearest(action: np.ndarray) -> int:
    """The number of R2R-CE's action that a waypoint is most like."""
    if not action.any():
        return ACTIONS.index("stop")
    if abs(action[2]) <= np.hypot(action[0], action[1]):
        return ACTIONS.index("forward")
    return ACTIONS.index("left" if action[2] > 0 else "right")


def _episode(name: str, scene: str, errand: Errand, geodesic_m: float, truth: Truth) -> Episode:
    reference = np.concatenate([errand.way[:-1:_EVERY], errand.way[-1:]])
    return Episode(
        episode_id=name, trajectory_id=name, scene_id=scene, instruction=errand.instruction,
        start_position=off_the_floor(errand.start[:2]), start_rotation=rotation_of(float(errand.start[2])),
        goal=off_the_floor(errand.goal), geodesic_m=geodesic_m, reference_path=off_the_floor(reference),
        truth=truth,
    )  # fmt: skip


def house_of(episode: Episode, folder: Path) -> House:
    """The house of an episode of a file in this folder. Raises KinemaError for a scene of another kind."""
    if Path(episode.scene_id).suffix != ".json":
        raise KinemaError(
            f"episode {episode.episode_id}: scene {episode.scene_id!r} is no house in ProcTHOR's JSON; scans "
            "are played by Habitat, which is not here"
        )
    path = (folder / episode.scene_id).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise KinemaError(f"episode {episode.episode_id}: scene {episode.scene_id!r} lies outside {folder}")
    return read_house(path)[0]


def errand_of(episode: Episode, house: House) -> Errand:
    """What an episode asks for in its house. Raises KinemaError where its goal cannot be reached."""
    if episode.goal is None:
        raise KinemaError(f"episode {episode.episode_id} keeps its goal secret and cannot be judged here")
    space, start = FreeSpace(house), on_the_floor(episode.start_position)
    goal = np.zeros_like(space.free)
    goal[space.cell(on_the_floor(episode.goal))] = True
    distances = space.distances(goal)
    if not np.isfinite(distances[space.cell(start)]):
        raise KinemaError(f"episode {episode.episode_id}: no way leads from its start to its goal")
    return Errand(
        instruction=episode.instruction, start=np.array([*start, episode.heading_rad]),
        goal=on_the_floor(episode.goal), distances=distances, way=space.way(distances, start),
    )  # fmt: skip
