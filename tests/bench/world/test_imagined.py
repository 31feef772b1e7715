"""Judging policies by films: who does what the film does is worth 1, who holds still is worth nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from kinema.bench.world.imagined import (
    Agreement,
    ImaginedScene,
    by_task,
    imagine_scene,
    judge,
    skill,
    skill_interval,
    try_scene,
)
from kinema.bench.world.ranking import Ranked, page, rank
from kinema.card.load import load_card
from kinema.runtime.policy import HoldPolicy
from kinema.schema import ActionChunk, Film, KinemaError, Observation
from kinema.space.motion import Motion, targets_along

CARD = load_card("panda")
F, N = 6, 3


def scene(seed: int = 0) -> ImaginedScene:
    rng = np.random.default_rng(seed)
    states = np.tile([0.45, 0.0, 0.3, 0, 0, 0, 1.0], (F, 1))
    states[:, :3] += np.cumsum(rng.normal(scale=0.03, size=(F, 3)), axis=0)
    frames = rng.integers(0, 255, (F, 2, 8, 8, 3), dtype=np.uint8)
    film = Film(frames=frames, cameras=CARD.camera_names, fps=10 / 3, card="panda", instruction="go")
    motion = Motion(
        card="panda", states=states, actions=targets_along(CARD, states, N), drift=np.zeros(F - 1),
        fps=film.fps, control_hz=10.0,
    )  # fmt: skip
    return ImaginedScene(task=f"panda/task{seed % 2}", seed=seed, film=film, motion=motion)


class Follower:
    """Answers what the film does, off by some share of the way."""

    def __init__(self, one: ImaginedScene, share: float, chunk: int = N) -> None:
        self.one, self.share, self.chunk = one, share, chunk

    def reset(self, seed: int) -> None:
        self.seed = seed

    def infer(self, now: Observation, card_name: str, committed: object = None) -> ActionChunk:
        i = round(now.time_s * self.one.film.fps)
        assert np.array_equal(now.images["front"], self.one.film.frames[i, 0])
        done = self.one.motion.actions[i * N : i * N + self.chunk]
        done = np.concatenate([done, np.repeat(done[-1:], self.chunk - len(done), 0)])
        values = now.state + self.share * (done - now.state)
        times = now.time_s + (1 + np.arange(self.chunk)) / 10
        return ActionChunk(values=values, times_s=times, card=card_name)


def test_skill_is_the_share_of_the_motion_that_is_foretold() -> None:
    one = scene()
    assert skill([judge(Follower(one, 1.0), one, CARD)]) == pytest.approx(1.0, abs=1e-5)
    assert skill([judge(Follower(one, 0.6), one, CARD)]) == pytest.approx(0.6, abs=1e-4)
    assert skill([judge(HoldPolicy(), one, CARD)]) == pytest.approx(0.0, abs=1e-6)
    assert skill([judge(Follower(one, -1.0), one, CARD)]) == pytest.approx(-1.0, abs=1e-4)


def test_the_whole_chunk_counts_as_far_as_the_film_goes() -> None:
    one = scene()

    class Forgetful(Follower):
        def infer(self, now: Observation, card_name: str, committed: object = None) -> ActionChunk:
            answer = super().infer(now, card_name)
            answer.values[N:] = now.state  # right until the next picture, then back where it was
            return answer

    assert skill([judge(Follower(one, 1.0, chunk=16), one, CARD)]) == pytest.approx(1.0, abs=1e-5)
    assert skill([judge(Forgetful(one, 1.0, chunk=16), one, CARD)]) < 0.6


def test_tasks_are_counted_apart_and_scenes_by_how_much_moves() -> None:
    found = [
        Agreement(task="a", seed=0, policy=0.0, still=3.0),
        Agreement(task="a", seed=1, policy=1.0, still=1.0),
        Agreement(task="b", seed=2, policy=2.0, still=4.0),
    ]
    assert by_task(found) == {"a": pytest.approx(0.75), "b": pytest.approx(0.5)}
    assert skill(found) == pytest.approx(1 - 3 / 8)
    low, high = skill_interval(found)
    assert low < 1 - 3 / 8 < high


def test_a_film_in_which_nothing_moves_judges_nobody() -> None:
    with pytest.raises(KinemaError, match="nothing moves"):
        skill([Agreement(task="a", seed=0, policy=0.0, still=0.0)])


def test_short_answers_and_privileged_policies_are_refused() -> None:
    one = scene()

    class Short(Follower):
        def infer(self, now: Observation, card_name: str, committed: object = None) -> ActionChunk:
            return ActionChunk(values=np.zeros((1, 7)), times_s=np.zeros(1), card=card_name)

    class Sees(Follower):
        def attach(self, environment: object) -> None: ...

    with pytest.raises(KinemaError, match="at least 3"):
        judge(Short(one, 1.0), one, CARD)
    with pytest.raises(KinemaError, match="simulator"):
        judge(Sees(one, 1.0), one, CARD)


@pytest.mark.parametrize("wrong", ["raises", "is short", "is not finite", "is nothing"])
def test_what_a_policy_cannot_answer_is_an_error_of_that_scene(wrong: str, tmp_path: Path) -> None:
    """The others keep their scores; the skill counts it as holding still, and its cause is kept."""

    class Breaks(Follower):
        def infer(self, now: Observation, card_name: str, committed: object = None) -> ActionChunk:
            if now.time_s < 1 or self.seed != 1:
                return super().infer(now, card_name, committed)
            if wrong == "raises":
                raise RuntimeError("out of order")
            values = np.full((N, 7), np.nan) if wrong == "is not finite" else np.zeros((1, 7))
            return (
                None
                if wrong == "is nothing"
                else ActionChunk(  # type: ignore[return-value]
                    values=values, times_s=np.arange(len(values)), card=card_name
                )
            )

    scenes = [scene(seed) for seed in range(3)]
    found = [try_scene(Breaks(one, 1.0), one, CARD, 0, tmp_path / "errors") for one in scenes]
    assert [bool(one.cause) for one in found] == [False, True, False]
    assert found[1].policy == found[1].still > 0
    assert 0.0 < skill(found) < skill([found[0], found[2]])
    (told,) = (tmp_path / "errors").iterdir()
    assert told.read_text().rstrip().endswith(found[1].cause)


def test_a_policy_that_sees_the_simulator_is_refused_before_any_scene(tmp_path: Path) -> None:
    class Sees(Follower):
        def attach(self, environment: object) -> None: ...

    with pytest.raises(KinemaError, match="simulator"):
        try_scene(Sees(scene(), 1.0), scene(), CARD, 0, tmp_path)


def test_the_present_is_what_is_imagined_from() -> None:
    one = scene()
    asked: list[tuple[str, int]] = []

    class Imagines:
        def imagine(self, images: Mapping[str, np.ndarray], text: str, card: str, *, seed: int = 0) -> Film:
            asked.append((text, seed))
            return one.film

    class Reads:
        def read(self, film: Film, first_state: np.ndarray | None = None) -> Motion:
            assert film is one.film
            np.testing.assert_array_equal(first_state, now.state)
            return one.motion

    now = Observation(images={}, state=np.ones(7, np.float32), instruction="press it", time_s=0.0)
    made = imagine_scene(Imagines(), Reads(), now, "panda", task="t", seed=4)
    assert asked == [("press it", 4)]
    assert made.motion is one.motion


def ranked(name: str, imagined: float, success: float) -> Ranked:
    return Ranked(
        policy=name, skill=imagined, skill_ci95=(imagined - 0.1, imagined + 0.1), success=success,
        success_ci95=(0.0, 1.0), episodes=20, tasks={"t": (imagined, success)},
    )  # fmt: skip


def test_a_ranking_correlates_and_tells_its_chance(tmp_path: Path) -> None:
    five = [ranked(f"p{i}<", 0.1 * i, (0.0, 0.3, 0.2, 0.8, 1.0)[i]) for i in range(5)]
    ranking = rank(five, scenes=3, provenance={"imagines": "oracle"})
    assert ranking.spearman == pytest.approx(0.9)
    assert ranking.chance == pytest.approx(5 / 120, abs=1e-6)
    assert [one.success for one in ranking.policies] == [1.0, 0.8, 0.3, 0.2, 0.0]
    ranking.save(tmp_path)
    text = page(ranking)
    assert "p4&lt;" in text
    assert "p4<" not in text
    assert (tmp_path / "ranking.json").is_file()
    with pytest.raises(KinemaError, match="at least 5"):
        rank(five[:4], scenes=3, provenance={})
