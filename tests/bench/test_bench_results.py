import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.bench.benchmark import TaskSpec
from kinema.bench.episode import EpisodeRecord
from kinema.bench.metrics.intervals import mean95, wilson95
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


def test_errors_are_no_failures_but_count_as_such_in_the_published_rate(summary):
    task = summary.tasks["b/x"]
    assert (task["successes"], task["failures"], task["errors"], task["episodes"]) == (1, 1, 2, 4)
    assert task["success_rate"] == 0.5
    assert task["published_rate"] == 0.25
    assert task["published_ci95"] == pytest.approx(wilson95(1, 4), abs=1e-6)
    assert summary.overall["published_rate"] == pytest.approx(5 / 12, abs=1e-6)
    assert (summary.first_error["task"], summary.first_error["index"]) == ("b/x", 2)
    assert task["mean_steps_of_successes"] == 6


def test_means_and_groups(summary):
    assert summary.groups["a"]["success_rate"] == 0.5
    assert summary.groups["x"]["successes"] == 5
    assert summary.groups["x"]["kind"] == "family"
    assert summary.mean_of_groups == pytest.approx((0.5 + 0.25) / 2)  # bodies a and b: the first kind
    assert summary.mean_of_tasks == pytest.approx((1 + 0 + 0.25) / 3, abs=1e-6)
    low, high = summary.mean_of_groups_ci95
    assert low < summary.mean_of_groups < high
    assert summary.mean_of_groups_ci95 == pytest.approx(mean95([(4, 8), (1, 4)]), abs=1e-6)


@given(st.lists(st.sampled_from(["success", "failure"]), min_size=1, max_size=30))
def test_nobody_gains_by_crashing_where_he_would_fail(outcomes):
    specs = [TaskSpec(name="a", card="a", control_hz=10, groups={"body": "a"})]
    honest = [record("a", i, outcome) for i, outcome in enumerate(outcomes)]
    cheat = [record("a", i, "success" if o == "success" else "error") for i, o in enumerate(outcomes)]
    fair, gamed = (
        summarise("toy", specs, records, complete=True, provenance={}) for records in (honest, cheat)
    )
    if "success" in outcomes:
        assert gamed.mean_of_groups == fair.mean_of_groups
        assert gamed.mean_of_groups_ci95 == fair.mean_of_groups_ci95
        assert gamed.overall["published_rate"] == fair.overall["published_rate"]
    else:
        assert (gamed.mean_of_groups, gamed.mean_of_tasks) == (None, None)
        assert gamed.overall["published_rate"] is gamed.overall["success_rate"] is None, "nothing was scored"


def test_a_group_in_which_nothing_was_scored_takes_the_mean_with_it():
    specs = [
        TaskSpec(name=n, card=n, control_hz=10, groups={"body": n}) for n in ("easy", "hard", "unplayed")
    ]
    records = [record("easy", 0, "success"), record("hard", 0, "error")]
    told = summarise("toy", specs, records, complete=False, provenance={})
    assert (told.mean_of_groups, told.mean_of_groups_ci95, told.mean_of_tasks) == (None, None, None)
    assert told.overall["published_rate"] == 0.5


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
