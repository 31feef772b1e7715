"""What is logged of a policy that acts while it is trained: errors are neither failures nor hidden."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.bench.benchmark import Factory
from kinema.bench.settings import RunSettings
from kinema.commands.eval import closed_loop
from kinema.commands.eval.played import PLAYED, Told
from kinema.schema import KinemaError


def _group(successes: int, failures: int, errors: int) -> dict[str, Any]:
    judged = successes + failures
    return {
        "successes": successes, "failures": failures, "errors": errors, "episodes": judged + errors,
        "success_rate": successes / judged if judged else None,
    }  # fmt: skip


@given(st.tuples(*[st.integers(0, 5)] * 3))
def test_an_error_is_never_logged_as_a_failure_nor_hidden(counts: tuple[int, int, int]) -> None:
    successes, failures, errors = counts
    logged = closed_loop.scalars("tabletop", {"panda": _group(*counts)})
    assert logged["errors/tabletop/panda"] == errors
    assert ("success/tabletop/panda" in logged) == (successes + failures > 0)
    if successes + failures:
        assert logged["success/tabletop/panda"] == successes / (successes + failures)
    assert ("success_with_errors/tabletop/panda" in logged) == (errors > 0)
    if errors:
        assert logged["success_with_errors/tabletop/panda"] == successes / sum(counts)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[RunSettings]:
    """What would be played by an artifact that knows `BODIES`; no episode is."""
    played: list[RunSettings] = []
    found = SimpleNamespace(tasks={"a": _group(0, 0, 3), "b": _group(1, 0, 1)}, groups={"x": _group(0, 0, 3)})

    def judge(settings: RunSettings, *_: Any, **__: Any) -> Any:
        played.append(settings)
        return found

    monkeypatch.setattr(closed_loop, "judge", judge)
    monkeypatch.setattr("kinema.commands.policies.second_look_px", lambda *_: 0)
    monkeypatch.setattr(closed_loop, "policy_factory", lambda _: Factory(target="a:b"))
    return played


def _knows(monkeypatch: pytest.MonkeyPatch, *bodies: str) -> None:
    for module in ("kinema.commands.eval.closed_loop", "kinema.commands.policies"):
        monkeypatch.setattr(f"{module}.bodies_of", lambda _: bodies)


def test_errors_of_an_evaluation_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    judged: list[RunSettings],
) -> None:  # fmt: skip
    _knows(monkeypatch, "panda")
    logged = closed_loop.closed_loop(tmp_path)(tmp_path)
    assert logged == {"errors/tabletop/x": 3, "success_with_errors/tabletop/x": 0.0}
    assert "4 of 5 episodes" in capsys.readouterr().err
    assert len(judged) == 1


BODY = {
    "tabletop": "ur5e", "metaworld": "sawyer_metaworld", "libero": "panda_libero", "aloha": "aloha_gym",
    "simpler": "widowx_simpler", "robotwin": "aloha_agilex", "gr1": "gr1",
}  # fmt: skip


@pytest.mark.parametrize("benchmark", BODY)
def test_a_policy_is_judged_where_the_body_that_it_learnt_acts_and_as_by_eval(
    benchmark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judged: list[RunSettings]
) -> None:
    _knows(monkeypatch, BODY[benchmark])
    assert {name.split("/")[1] for name in closed_loop.closed_loop(tmp_path)(tmp_path)} == {benchmark}
    (settings,) = judged
    played = PLAYED[benchmark]
    told = Told(policy=str(tmp_path), episodes=settings.episodes, first=settings.first)
    assert settings.benchmark == played.judged(told).benchmark
    assert settings.replan_steps == played.replan_steps
    assert set(played.learners()) <= set(played.judged(told).bodies)


def test_one_policy_for_all_is_judged_everywhere_and_one_that_nobody_plays_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    judged: list[RunSettings],
) -> None:  # fmt: skip
    _knows(monkeypatch, *BODY.values())
    logged = closed_loop.closed_loop(tmp_path)(tmp_path)
    assert {name.split("/")[1] for name in logged} == set(BODY)
    assert len(judged) == len(BODY)
    capsys.readouterr()
    _knows(monkeypatch, "g1", "my_own")
    assert closed_loop.closed_loop(tmp_path)(tmp_path) == {}
    assert capsys.readouterr().err == "kinema: not judged: no benchmark has g1 or my_own\n"


def test_a_benchmark_that_cannot_be_played_here_is_said_and_the_others_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def judge(settings: RunSettings, out: Path, **_: Any) -> Any:
        if out.name == "libero":
            raise KinemaError("LIBERO's own environment is missing")
        return SimpleNamespace(tasks={}, groups={"x": _group(1, 1, 0)})

    monkeypatch.setattr(closed_loop, "judge", judge)
    monkeypatch.setattr("kinema.commands.policies.second_look_px", lambda *_: 0)
    monkeypatch.setattr(closed_loop, "policy_factory", lambda _: Factory(target="a:b"))
    _knows(monkeypatch, "panda_libero", "aloha_gym")
    logged = closed_loop.closed_loop(tmp_path)(tmp_path)
    assert logged == {"success/aloha/x": 0.5, "errors/aloha/x": 0}
    assert "not judged on libero: LIBERO's own environment is missing" in capsys.readouterr().err


def test_a_run_that_goes_on_does_not_judge_into_the_evaluations_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def judge(_: RunSettings, out: Path, **__: Any) -> Any:
        out.mkdir(parents=True)
        folders.append(out)
        return SimpleNamespace(tasks={}, groups={})

    monkeypatch.setattr(closed_loop, "judge", judge)
    monkeypatch.setattr("kinema.commands.policies.second_look_px", lambda *_: 0)
    monkeypatch.setattr(closed_loop, "policy_factory", lambda _: Factory(target="a:b"))
    _knows(monkeypatch, "aloha_gym")
    for _ in range(2):
        evaluate = closed_loop.closed_loop(tmp_path)
        evaluate(tmp_path)
        evaluate(tmp_path)
    assert [folder.parent.name for folder in folders] == ["000", "001", "002", "003"]
