import pytest

from kinema.bench.benchmark import TaskSpec
from kinema.bench.episode import EpisodeRecord
from kinema.bench.report import page
from kinema.bench.results import Results, summarise


def record(task, index, result, steps=10):
    return EpisodeRecord(task=task, index=index, seed=index, result=result, cause="", steps=steps)


@pytest.fixture
def summary():
    specs = [
        TaskSpec(name="a/x", card="a", control_hz=10, groups={"body": "a", "family": "x"}),
        TaskSpec(name="a/y", card="a", control_hz=10, groups={"body": "a", "family": "y"}),
        TaskSpec(name="b/x", card="b", control_hz=10, groups={"body": "b", "family": "x"}),
    ]
    records = [
        *(record("a/x", i, "success") for i in range(4)),
        *(record("a/y", i, "failure") for i in range(4)),
        record("b/x", 0, "success", 6),
        record("b/x", 1, "failure"),
        record("b/x", 2, "error"),
        record("b/x", 3, "error"),
    ]
    return summarise("toy", specs, records, complete=True, provenance={})


def test_errors_are_in_no_rate(summary):
    task = summary.tasks["b/x"]
    assert (task["successes"], task["failures"], task["errors"], task["episodes"]) == (1, 1, 2, 4)
    assert task["success_rate"] == 0.5
    assert task["mean_steps_of_successes"] == 6


def test_means_and_groups(summary):
    assert summary.groups["a"]["success_rate"] == 0.5
    assert summary.groups["x"]["successes"] == 5
    assert summary.groups["x"]["kind"] == "family"
    assert summary.mean_of_groups == pytest.approx((0.5 + 0.5) / 2)  # bodies a and b: the first kind
    assert summary.mean_of_tasks == pytest.approx((1 + 0 + 0.5) / 3, abs=1e-6)


def test_results_survive_the_disk(summary, tmp_path):
    summary.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == summary


def test_report_needs_no_network_and_escapes_names(tmp_path):
    specs = [TaskSpec(name="<b>x", card="a", control_hz=10, groups={"body": "<i>"})]
    text = page(
        summarise("<toy>", specs, [record("<b>x", 0, "error")], complete=False, provenance={"k": "<s>"}),
        [record("<b>x", 0, "error")],
        tmp_path,
    )
    assert "http:" not in text
    assert "https:" not in text
    for name in ("<b>x", "<i>", "<toy>", "<s>"):
        assert name not in text
    assert "not complete" in text
