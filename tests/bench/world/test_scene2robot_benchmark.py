"""Laws of the scene-to-robot measures, on films that were shifted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.bench.episode import EVALUATION_SEEDS_BELOW, EpisodeJob, EpisodeRecord
from kinema.bench.metrics.geometry import Pinhole
from kinema.bench.metrics.patches import HALF_PX, WINDOW_PX, find_patch
from kinema.bench.world.scene2robot import StageBenchmark, StagePlayer, Truth, judge, measures_table, strip
from kinema.schema import Result

SIDE, FRAMES = 64, 7
CAMERA = Pinhole(position_m=np.array([0.0, 0.0, 1.0]), rotation=np.eye(3), fovy_rad=0.8)  # looks down


def _noise(seed: int, *shape: int) -> np.ndarray:
    """Blurred noise: it has something to be found by, also at a fraction of a pixel."""
    values = np.random.default_rng(seed).normal(size=shape)
    for axis in (-3, -2):
        values = sum(np.roll(values, k, axis) for k in range(-2, 3))
    return (128 + 10 * values).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-WINDOW_PX, WINDOW_PX), (7, 0)])
def test_a_shifted_picture_is_found_where_it_was_shifted_to(shift: tuple[int, int]) -> None:
    true = _noise(0, SIDE, SIDE, 3)
    found = find_patch(np.roll(true, shift, (1, 0)), true, np.array([30.2, 33.9]))
    np.testing.assert_allclose(found.offset_px, shift, atol=0.05)
    assert found.distance_px == pytest.approx(np.hypot(*shift), abs=0.1)
    assert found.agreement == pytest.approx(1.0)


def test_half_a_pixel_counts_and_light_does_not() -> None:
    true = _noise(0, SIDE, SIDE, 3)
    half = (true.astype(float) + np.roll(true, 1, 1)) / 2
    found = find_patch((0.5 * half + 20).astype(np.uint8), true, np.array([30.0, 30.0]))
    np.testing.assert_allclose(found.offset_px, (0.5, 0.0), atol=0.2)


def test_what_is_not_there_is_not_agreed_on() -> None:
    true, flat = _noise(0, SIDE, SIDE, 3), np.full((SIDE, SIDE, 3), 90, np.uint8)
    assert find_patch(flat, true, np.array([30.0, 30.0])).agreement == 0.0
    assert find_patch(_noise(1, SIDE, SIDE, 3), true, np.array([30.0, 30.0])).agreement < 0.7
    at_the_edge = find_patch(true, true, np.array([1.0, SIDE - 1.0]))
    assert at_the_edge.distance_px < HALF_PX / 4


def _truth() -> Truth:
    along = np.linspace(-0.05, 0.05, FRAMES)
    return Truth(
        films={
            "robot": _noise(2, FRAMES, 1, SIDE, SIDE, 3),
            "empty": np.full((FRAMES, 1, SIDE, SIDE, 3), 128, np.uint8),
        },
        tool_m=np.stack([along, 0 * along, 0 * along + 0.5], 1),
        cameras=(CAMERA,),
        instruction="press",
    )


def test_a_film_is_as_far_off_as_it_was_shifted_and_millimetres_come_from_the_tools_depth() -> None:
    truth = _truth()
    true = truth.films["robot"]
    same, off = judge(true, truth), judge(np.roll(true, 3, 3), truth)
    assert same["tool_px"] == pytest.approx(0.0, abs=0.05)
    assert (same["psnr_db"], same["ssim"]) == (60.0, 1.0)
    assert off["tool_px"] == pytest.approx(3.0, abs=0.05)
    m_per_px = 0.5 * 2 * np.tan(0.4) / SIDE  # the tool is half a metre below the camera
    assert off["tool_mm"] == pytest.approx(3e3 * m_per_px, rel=0.03)
    assert off["psnr_db"] < 25
    nothing = judge(truth.films["empty"], truth)
    assert nothing["found"] == 0.0
    assert nothing["robot_psnr_db"] < same["robot_psnr_db"]
    away = Truth(**{**vars(truth), "tool_m": truth.tool_m + np.array([5.0, 0, 0])})
    assert "tool_px" not in judge(true, away)  # never in the picture


def test_the_table_keeps_bodies_that_were_never_paired_apart() -> None:
    def record(body: str, px: float, result: str = Result.SUCCESS) -> EpisodeRecord:
        measures = {"made.tool_px": px} if result != Result.ERROR else {}
        return EpisodeRecord(
            task=f"{body}/push", index=0, seed=1, result=result, cause="", steps=1, measures=measures
        )

    records = [
        record("ur5e", 1.0),
        record("panda", 3.0),
        record("iiwa14", 5.0),
        record("iiwa14", 0, Result.ERROR),
    ]
    table = measures_table(records, ["ur5e", "panda"])
    assert list(table) == ["never paired bodies", "paired bodies", "iiwa14", "panda", "ur5e"]
    assert table["paired bodies"]["made.tool_px"]["mean"] == 2.0
    assert table["never paired bodies"] == {**table["iiwa14"], "errors": 1, "films": 1}


def test_tasks_say_who_was_paired_and_scenes_stay_away_from_training() -> None:
    specs = StageBenchmark(["ur5e", "iiwa14"], ["ur5e"]).tasks()
    assert {spec.groups["pairs"] for spec in specs if spec.card == "iiwa14"} == {"never paired"}
    assert {spec.name for spec in specs} >= {"ur5e/push", "iiwa14/button"}
    for seed in (0, 4, 2**32 - 1):
        of_body = [
            [
                StagePlayer(seed).scene_seed(EpisodeJob(task=f"{body}/push", index=i, seed=0))
                for i in range(50)
            ]
            for body in ("ur5e", "iiwa14")
        ]
        assert of_body[0] == of_body[1], "every body stands before the same scenes"
        assert len(set(of_body[0])) == 50
        assert max(of_body[0]) < EVALUATION_SEEDS_BELOW


def test_a_strip_has_films_from_left_to_right_and_views_side_by_side() -> None:
    films = [np.full((2, 2, 4, 4, 3), value, np.uint8) for value in (10, 20, 30)]
    canvas = strip(films)
    assert canvas.shape == (2, 8, 48, 3)
    assert canvas[0, 0, ::16, 0].tolist() == [10, 20, 30]
