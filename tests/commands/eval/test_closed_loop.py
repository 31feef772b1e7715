"""What is logged of a policy that acts while it is trained: errors are neither failures nor hidden."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.bench.benchmark import Factory
from kinema.commands.eval import closed_loop


def _group(successes: int, failures: int, errors: int) -> dict[str, Any]:
    judged = successes + failures
    return {
        "successes": successes, "failures": failures, "errors": errors, "episodes": judged + errors,
        "success_rate": successes / judged if judged else None,
    }  # fmt: skip


@given(st.tuples(*[st.integers(0, 5)] * 3))
def test_an_error_is_never_logged_as_a_failure_nor_hidden(counts: tuple[int, int, int]) -> None:
    successes, failures, errors = counts
    logged = closed_loop.scalars({"panda": _group(*counts)})
    assert logged["errors/panda"] == errors
    assert ("success/panda" in logged) == (successes + failures > 0)
    if successes + failures:
        assert logged["success/panda"] == successes / (successes + failures)
    assert ("success_with_errors/panda" in logged) == (errors > 0)
    if errors:
        assert logged["success_with_errors/panda"] == successes / sum(counts)


def test_errors_of_an_evaluation_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = SimpleNamespace(tasks={"a": _group(0, 0, 3), "b": _group(1, 0, 1)}, groups={"x": _group(0, 0, 3)})
    monkeypatch.setattr(closed_loop, "judge", lambda *_, **__: found)
    monkeypatch.setattr(closed_loop, "bodies_of", lambda _: ["panda"])
    monkeypatch.setattr("kinema.commands.policies.second_look_px", lambda *_: 0)
    monkeypatch.setattr(closed_loop, "policy_factory", lambda _: Factory(target="a:b"))
    assert closed_loop.closed_loop(tmp_path)(tmp_path) == {"errors/x": 3, "success_with_errors/x": 0.0}
    assert "4 of 5 episodes" in capsys.readouterr().err
