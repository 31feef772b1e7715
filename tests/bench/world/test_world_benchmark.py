"""Judging imagined films: the truth bounds them, nothing depends on workers, a stopped run goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco")

from plain_eyes import PLAIN

from kinema.bench.benchmark import Factory
from kinema.bench.episode import EpisodeJob, EpisodeRecord
from kinema.bench.run import RunSettings, run
from kinema.bench.world.films import (
    RepeatFirstFrame,
    TrueSimulator,
    WorldBenchmark,
    WorldPlayer,
    read_embeddings,
    side_by_side,
)
from kinema.bench.world.gallery import write_gallery
from kinema.bench.world.scene import Clip, play_other, play_scene
from kinema.bench.world.scores import world_table
from kinema.schema import KinemaError

TASK = "ur5e/button"
CLIP = Clip()


@pytest.fixture(scope="module")
def benchmark() -> WorldBenchmark:
    return WorldBenchmark(bodies=("ur5e",), families=("button",))


@pytest.fixture(scope="module")
def environment(benchmark: WorldBenchmark) -> Any:
    made = benchmark.make(TASK)
    yield made
    made.close()


def test_a_scene_is_a_function_of_its_seed_and_the_end_is_held(environment: Any) -> None:
    scene, again = (play_scene(environment, 500_001, CLIP) for _ in range(2))
    assert scene.solved
    np.testing.assert_array_equal(scene.true.frames, again.true.frames)
    assert scene.true.frames.shape == (13, 2, 96, 96, 3)
    assert scene.true.fps == pytest.approx(10 / 3)
    np.testing.assert_array_equal(scene.true.frames[-1], scene.true.frames[-2])
    assert not np.array_equal(scene.true.frames[0], scene.true.frames[-1])


def test_another_thing_can_be_named_in_the_same_scene(environment: Any) -> None:
    scene = play_scene(environment, 500_001, CLIP)
    other = play_other(environment, 500_001, CLIP)
    assert other.solved
    assert other.true.instruction == scene.other != scene.true.instruction
    np.testing.assert_array_equal(other.true.frames[0], scene.true.frames[0])
    assert not np.array_equal(other.true.frames[3], scene.true.frames[3])
    back = play_scene(environment, 500_001, CLIP)
    assert back.true.instruction == scene.true.instruction


@pytest.mark.slow
def test_the_truth_scores_as_the_truth_and_repeating_does_not(
    benchmark: WorldBenchmark, environment: Any, tmp_path: Path
) -> None:
    player = WorldPlayer(out=str(tmp_path), eyes=PLAIN)
    spec = benchmark.tasks()[0]
    job = EpisodeJob(task=TASK, index=0, seed=500_002)
    record = player(environment, TrueSimulator(), spec, job, 4)
    measures = record.measures
    for name in ("hsd", "ndtw", "dyn", "psnr_db", "ssim", "feature_distance"):
        assert measures[f"imagined.{name}"] == measures[f"true.{name}"]
    assert measures["imagined.hsd"] == 1.0 > measures["repeat.hsd"]
    assert measures["imagined.psnr_db"] == 60.0 > measures["repeat.psnr_db"]
    assert measures["imagined.feature_distance"] == 0.0 < measures["repeat.feature_distance"]
    assert measures["repeat.scene_consistency"] == pytest.approx(1.0)
    assert measures["other.psnr_db"] < 60.0
    json.dumps(record.as_dict(), allow_nan=False)
    again = player(environment, TrueSimulator(), spec, job, 4)
    assert again.measures == measures
    assert read_embeddings(tmp_path, [record])["imagined"].shape[0] == 1


def test_a_film_of_another_shape_is_an_error(
    benchmark: WorldBenchmark, environment: Any, tmp_path: Path
) -> None:
    player = WorldPlayer(out=str(tmp_path), eyes=PLAIN)
    job = EpisodeJob(task=TASK, index=0, seed=500_002)
    with pytest.raises(KinemaError, match="13, 2, 96"):
        player(environment, RepeatFirstFrame(frames=5), benchmark.tasks()[0], job, 4)


def test_the_simulator_refuses_a_sentence_the_scene_has_no_expert_for(environment: Any) -> None:
    simulator = TrueSimulator()
    with pytest.raises(KinemaError, match="attached"):
        simulator.imagine({}, "press the red button", "ur5e")
    simulator.attach(environment, 500_001, CLIP)
    with pytest.raises(KinemaError, match="no expert"):
        simulator.imagine({}, "open the drawer", "ur5e")


def _record(index: int, **measures: float) -> EpisodeRecord:
    result = "success" if measures.get("imagined.followed") else "failure"
    return EpisodeRecord(
        task=TASK, index=index, seed=index, result=result, cause="press it: x", steps=12, measures=measures
    )


def test_the_table_by_hand() -> None:
    records = [
        _record(0, **{"imagined.followed": 1.0, "imagined.hsd": 0.4, "repeat.hsd": 0.1}),
        _record(1, **{"imagined.followed": 0.0, "imagined.hsd": 0.2, "repeat.hsd": 0.1}),
        EpisodeRecord(task=TASK, index=2, seed=2, result="error", cause="crash", steps=0),
    ]
    embeddings = {"imagined": np.eye(2) + 3.0, "true": np.eye(2)}
    table = world_table(records, embeddings, {"version": "x"})
    assert (table["films"], table["errors"]) == (2, 1)
    assert table["contestants"]["imagined"]["followed"]["mean"] == 0.5
    assert table["contestants"]["imagined"]["hsd"]["mean"] == pytest.approx(0.3)
    assert table["imagined_minus"]["repeat"]["hsd"]["mean"] == pytest.approx(0.2)
    # the same spread, means (3, 3) apart
    assert table["contestants"]["imagined"]["frechet_distance"]["mean"] == pytest.approx(18.0)
    assert "frechet_distance" not in table["contestants"]["repeat"]


def test_the_gallery_is_one_file_and_escapes_what_it_is_told(environment: Any, tmp_path: Path) -> None:
    from kinema.bench.video import video_suffix, write_video

    scene = play_scene(environment, 500_001, CLIP)
    canvas = side_by_side(scene.true, scene.true)
    assert canvas.shape == (13, 2 * (96 + 4 + 96), 2 * 192, 3)
    name = "film" + video_suffix()
    write_video(tmp_path / "videos" / name, canvas, scene.true.fps)
    record = replace(_record(0, **{"imagined.followed": 1.0, "imagined.hsd": 0.4}), video=name)
    record = replace(record, cause="press <the> red button: right thing, right place")
    page = write_gallery(tmp_path, world_table([record], {}, {}), [record], {"seed": 0}).read_text()
    assert "data:video/mp4;base64," in page or "data:image/gif;base64," in page
    assert "press &lt;the&gt; red button" in page
    assert "http" not in page.split("<style>")[1]


@pytest.mark.slow
def test_the_result_does_not_depend_on_workers_and_a_stopped_run_goes_on(tmp_path: Path) -> None:
    def settings(out: Path) -> RunSettings:
        arguments = {"bodies": ["ur5e", "aloha"], "families": ["button"]}
        return RunSettings(
            benchmark=Factory(target="kinema.bench.world.films:WorldBenchmark", arguments=arguments),
            policy=Factory(target="kinema.bench.world.films:TrueSimulator"),
            play=Factory(
                target="kinema.bench.world.films:WorldPlayer", arguments={"out": str(out), "eyes": PLAIN}
            ),
            episodes=2,
            seed=3,
        )

    def measured(out: Path) -> dict[str, Any]:
        lines = [json.loads(line) for line in (out / "episodes.jsonl").read_text().splitlines()]
        return {f"{r['task']}{r['index']}": r["measures"] for r in lines if "task" in r}

    run(settings(tmp_path / "one"), tmp_path / "one", workers=1, quiet=True)
    run(settings(tmp_path / "two"), tmp_path / "two", workers=2, quiet=True)
    assert measured(tmp_path / "one") == measured(tmp_path / "two")
    journal = tmp_path / "two" / "episodes.jsonl"
    journal.write_text("".join(line + "\n" for line in journal.read_text().splitlines()[:-1]))
    run(settings(tmp_path / "two"), tmp_path / "two", workers=1, quiet=True)
    assert measured(tmp_path / "one") == measured(tmp_path / "two")
