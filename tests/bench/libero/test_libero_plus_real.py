"""LIBERO-Plus itself: skips where its environment has not been made (scripts/setup_libero.sh --plus)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from kinema.bench.libero.benchmark import LiberoBenchmark, LiberoEnv
from kinema.bench.libero.plus import PLUS
from kinema.schema import KinemaError

FOUND = Path(os.environ.get(PLUS.variable) or PLUS.folder) / "bin" / "python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOUND.is_file(), reason=f"no LIBERO-Plus at {FOUND}: {PLUS.script} makes it"),
    pytest.mark.timeout(1800),
]
TASKS = {  # of every suite, as the paper counts them: 10,030
    "spatial": {"camera": 376, "robot": 350, "language": 390, "noise": 351},
    "object": {"camera": 396, "robot": 398, "language": 354, "noise": 422},
}


def test_axes_have_the_published_numbers_of_tasks_and_clean_sentences() -> None:
    axes = ("camera", "robot", "language", "noise")
    benchmark = LiberoBenchmark(TASKS, variations=[f"plus-{axis}" for axis in axes])
    count = {suite: dict.fromkeys(axes, 0) for suite in TASKS}
    for task in benchmark.tasks():
        count[task.groups["suite"]][task.groups["variation"].removeprefix("plus-")] += 1
    assert count == TASKS
    sentences = benchmark.provenance()["sentences"]
    for suite in TASKS:
        plain = set(sentences[f"libero_{suite} camera"])
        assert len(plain) == 10
        assert plain == set(sentences[f"libero_{suite} robot"]) == set(sentences[f"libero_{suite} noise"])
        assert not [said for said in plain if any(letter.isdigit() for letter in said)]
        assert len(set(sentences[f"libero_{suite} language"])) > 100


def test_what_is_changed_is_changed_and_nothing_else() -> None:
    """One task of each axis beside a noise task, whose scene is the unchanged one."""
    axes = ("camera", "robot", "noise")
    benchmark = LiberoBenchmark(("object",), look="plain", variations=[f"plus-{axis}" for axis in axes])
    first = {axis: next(t.name for t in benchmark.tasks() if t.name.endswith(axis)) for axis in axes}
    seen = {axis: _seen(benchmark.make(name)) for axis, name in first.items()}
    views, states = ({axis: told[i] for axis, told in seen.items()} for i in (0, 1))
    np.testing.assert_array_equal(states["camera"], states["noise"])
    assert np.abs(states["robot"] - states["noise"])[-1, 3:6].max() > 0.01, "it is turned otherwise"
    wrist = {axis: picture["robot0_eye_in_hand"].astype(int) for axis, picture in views.items()}
    np.testing.assert_array_equal(wrist["camera"], wrist["noise"])
    front = {axis: picture["agentview"].astype(int) for axis, picture in views.items()}
    assert np.abs(front["camera"] - front["robot"]).mean() > 5, "seen from elsewhere"
    assert np.abs(front["noise"] - front["robot"]).mean() > 2, "seen worse"


def test_an_axis_whose_files_are_missing_says_which() -> None:
    (assets,) = FOUND.parents[1].glob("lib/*/site-packages/liberoplus/liberoplus/assets")
    if (assets / "scenes" / "lights").is_dir():
        pytest.skip("all assets are there")
    with pytest.raises(KinemaError, match=r"axis light needs .* no scenes/lights in its assets; get them"):
        LiberoBenchmark(("object",), variations=("plus-light",))


def _seen(env: LiberoEnv) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Pictures after a few steps, the same ones twice, and the states on the way there."""
    env.reset_to(0, 5)
    states = [env.state()]
    for _ in range(3):
        env.step(np.zeros(7))
        states.append(env.state())
    pictures, again = env.observe().images, env.observe().images
    for name in pictures:
        np.testing.assert_array_equal(pictures[name], again[name])
    env.close()
    return pictures, np.stack(states)
