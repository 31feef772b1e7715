import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import toy_benchmark

import kinema.pool.pool
from kinema.bench.benchmark import Factory
from kinema.bench.episode import EVALUATION_SEEDS_BELOW, EpisodeJob, episode_seed
from kinema.bench.journal import read_records
from kinema.bench.provenance import command_line, sitting_warnings
from kinema.bench.results import Results
from kinema.bench.run import RunSettings, run
from kinema.bench.worker import Playing
from kinema.schema import KinemaError

HERE = str(Path(__file__).parent)


def toy(policy=None, **benchmark) -> RunSettings:
    return RunSettings(
        benchmark=Factory(target="toy_benchmark:ToyBenchmark", arguments=benchmark),
        policy=Factory(target="toy_benchmark:DiffusingPolicy", arguments=policy or {}),
        episodes=6,
        seed=5,
    )


def outcomes(out: Path) -> dict:
    """Everything in the journal that must not depend on the machine."""
    lines = (out / "episodes.jsonl").read_text().splitlines()[1:]
    entries = [{k: v for k, v in json.loads(line).items() if k != "timing"} for line in lines]
    entries = [entry for entry in entries if "sitting" not in entry]
    assert len({(e["task"], e["index"]) for e in entries}) == len(entries), "an episode was played twice"
    return {(e["task"], e["index"]): e for e in entries}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return out, run(toy(), out, workers=1, quiet=True)


def test_same_seed_same_result_for_any_number_of_workers(whole, tmp_path):
    out, one = whole
    two = run(toy(), tmp_path, workers=2, quiet=True)
    assert outcomes(tmp_path) == outcomes(out)
    assert (two.tasks, two.groups) == (one.tasks, one.groups)
    assert 0 < one.overall["successes"] < one.overall["episodes"] == 18, "a result that could not differ"


def test_a_run_from_a_later_episode_plays_the_same_ones_as_a_whole_run(whole, tmp_path):
    later = run(replace(toy(), first=4, episodes=2), tmp_path, quiet=True)
    played = outcomes(whole[0])
    assert without_films(outcomes(tmp_path)) == without_films({k: e for k, e in played.items() if k[1] >= 4})
    assert later.complete
    assert later.overall["episodes"] == 6


def without_films(entries: dict) -> dict:
    """The first episodes that a run plays are filmed, whichever they are."""
    return {key: {k: v for k, v in entry.items() if k != "video"} for key, entry in entries.items()}


def test_another_seed_gives_other_episodes(whole, tmp_path):
    other = RunSettings(**{**vars(toy()), "seed": 6})
    run(other, tmp_path, quiet=True)
    assert {e["seed"] for e in outcomes(tmp_path).values()}.isdisjoint(
        e["seed"] for e in outcomes(whole[0]).values()
    )


PLAYED = 8  # of the eighteen episodes, when the run is stopped


def interrupt(out: Path, folder: Path, signal_number: int) -> tuple[bytes, RunSettings]:
    """Start a run that can play some episodes and no more, stop it there; its journal and its settings."""
    places = folder / "places"
    places.mkdir()
    for place in range(PLAYED):
        (places / str(place)).touch()
    script = (
        f"import sys; sys.path.insert(0, {HERE!r})\n"
        "if __name__ == '__main__':\n"
        "    import signal\n"
        "    from pathlib import Path\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it\n"
        "    from test_bench_run import run, toy\n"
        f"    run(toy(wait_in={str(places)!r}), Path({str(out)!r}), workers=2, quiet=True)\n"
    )
    (folder / "go.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, str(folder / "go.py")], start_new_session=True, stderr=subprocess.DEVNULL
    )
    journal = out / "episodes.jsonl"
    while not (journal.exists() and journal.read_bytes().count(b'"index":') >= PLAYED):
        assert process.poll() is None, "the run ended by itself"
        time.sleep(0.01)
    os.killpg(process.pid, signal_number)
    process.wait()
    places.rmdir()
    return journal.read_bytes(), toy(wait_in=str(places))


def test_a_run_resumes_after_sigkill_to_the_same_result(tmp_path, whole):
    out = tmp_path / "run"
    done, settings = interrupt(out, tmp_path, signal.SIGKILL)
    assert not (out / "results.json").exists()
    journal = out / "episodes.jsonl"
    journal.write_bytes(done + b'{"task": "left", "ind')  # a line torn by the kill
    results = run(settings, out, workers=1, quiet=True)
    assert journal.read_bytes().startswith(done), "finished episodes were played again"
    assert results.complete
    assert len(results.provenance["earlier_sittings"]) == 1
    assert outcomes(out) == outcomes(whole[0])
    assert results.tasks == whole[1].tasks


def test_ctrl_c_leaves_incomplete_results(tmp_path):
    out = tmp_path / "run"
    interrupt(out, tmp_path, signal.SIGINT)
    results = Results.load(out / "results.json")
    assert not results.complete
    assert results.overall["episodes"] == len(outcomes(out)) == PLAYED
    assert "not complete" in (out / "report.html").read_text()


def test_a_finished_run_is_not_played_again_and_can_be_extended(tmp_path):
    out = tmp_path
    run(toy(), out, quiet=True)
    before = (out / "episodes.jsonl").read_bytes()
    again = run(toy(), out, quiet=True)
    assert (out / "episodes.jsonl").read_bytes() == before
    assert again.complete
    assert Results.load(out / "results.json") == again
    assert again.provenance["policy"]["policy"] == "diffusing"
    longer = run(RunSettings(**{**vars(toy()), "episodes": 7}), out, quiet=True)
    assert longer.complete
    assert longer.overall["episodes"] == 21
    assert (out / "episodes.jsonl").read_bytes().startswith(before)


def test_a_crashing_environment_is_an_error_and_the_run_goes_on(tmp_path):
    results = run(toy(tasks=("left", "crash")), tmp_path, quiet=True)
    crash = results.tasks["crash"]
    assert (crash["errors"], crash["failures"], crash["successes"]) == (6, 0, 0)
    assert crash["success_rate"] is None
    assert crash["ci95"] == [0.0, 1.0]
    assert results.tasks["left"]["errors"] == 0
    assert results.tasks["left"]["episodes"] == 6
    assert "the toy broke" in (tmp_path / "errors" / "crash__002.txt").read_text()
    assert "6 episodes crashed" in (tmp_path / "report.html").read_text()
    assert results.first_error["cause"] == "ZeroDivisionError: the toy broke"
    assert results.overall["published_rate"] == results.overall["successes"] / 12
    assert results.mean_of_tasks is None, "of a task in which nothing was scored there is no rate"


def test_errors_are_played_again_only_when_asked_and_the_result_says_so(tmp_path, monkeypatch):
    settings = RunSettings(**{**vars(toy(tasks=("left", "fix me"))), "episodes": 2})
    monkeypatch.setenv(toy_benchmark.BROKEN, "1")
    assert run(settings, tmp_path, quiet=True).overall["errors"] == 2
    monkeypatch.delenv(toy_benchmark.BROKEN)
    kept = (tmp_path / "episodes.jsonl").read_bytes()
    assert run(settings, tmp_path, quiet=True).overall["errors"] == 2, "an error stays one"
    assert (tmp_path / "episodes.jsonl").read_bytes() == kept
    again = run(replace(settings, retry_errors=True), tmp_path, quiet=True)
    assert (again.overall["errors"], again.overall["episodes"]) == (0, 4)
    assert again.provenance["retried_errors"] == 2
    assert (tmp_path / "episodes.jsonl").read_bytes().startswith(kept)
    assert [r.result for r in read_records(tmp_path)].count("error") == 0
    assert run(settings, tmp_path, quiet=True) == again, "the later line of an episode counts"


@pytest.mark.parametrize("dies", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_process_that_dies_at_birth_costs_nothing(dies, tmp_path, monkeypatch):
    (tmp_path / "dies").write_text(str(dies))
    monkeypatch.setenv(toy_benchmark.STILLBORN, str(tmp_path))
    settings = RunSettings(**{**vars(toy(tasks=("die",))), "episodes": 2})
    results = run(settings, tmp_path / "out", quiet=True)
    assert results.complete
    assert results.overall["errors"] == 2


def test_when_no_process_can_be_started_any_more_the_run_ends_and_keeps_what_it_has(tmp_path, monkeypatch):
    (tmp_path / "dies").write_text("99")
    monkeypatch.setenv(toy_benchmark.STILLBORN, str(tmp_path))
    settings = RunSettings(**{**vars(toy(tasks=("left", "die"))), "episodes": 1})
    with pytest.raises(KinemaError, match=r"exit code 9.*3 in a row; what is finished is kept"):
        run(settings, tmp_path / "out", quiet=True)
    kept = Results.load(tmp_path / "out" / "results.json")
    assert (kept.complete, kept.overall["episodes"]) == (False, 1)
    monkeypatch.delenv(toy_benchmark.STILLBORN)
    assert run(settings, tmp_path / "out", quiet=True).complete


def test_a_result_of_two_versions_says_so():
    one, two = {"commit": "a", "versions": {"mujoco": "1"}}, {"commit": "a", "versions": {"mujoco": "2"}}
    assert sitting_warnings([one, one]) == []
    (told,) = sitting_warnings([one, two])
    assert "more than one set of versions" in told
    assert any("changes" in warning for warning in sitting_warnings([{"commit": "a+changes"}]))


def test_an_episode_of_which_two_processes_die_is_an_error_and_the_others_are_played(tmp_path):
    settings = replace(toy(tasks=("die", "left")), episodes=2)
    results = run(settings, tmp_path, workers=2, quiet=True)
    assert (results.tasks["die"]["errors"], results.tasks["die"]["episodes"]) == (2, 2)
    assert (results.tasks["left"]["errors"], results.tasks["left"]["episodes"]) == (0, 2)
    assert "exit code 7, and so did the one before" in (tmp_path / "errors" / "die__000.txt").read_text()


def test_a_hanging_episode_is_stopped_and_is_an_error(tmp_path, monkeypatch):
    hangs = tmp_path / "hangs"
    monkeypatch.setenv(toy_benchmark.HANGS, str(hangs))
    # an hour goes by while it hangs, so that no other episode is too long on a busy machine
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600.0 * hangs.exists())
    monkeypatch.setattr(kinema.pool.pool, "time", clock)
    settings = replace(toy(tasks=("hang", "left")), episodes=1, episode_limit_s=1800.0)
    results = run(settings, tmp_path / "out", quiet=True)
    assert (results.tasks["hang"]["errors"], results.tasks["left"]["errors"]) == (1, 0)


def test_a_policy_that_answers_with_nan_is_an_error(tmp_path):
    results = run(toy(policy={"poison": True}), tmp_path, quiet=True)
    assert results.overall["errors"] == 18
    assert "finite" in (tmp_path / "errors" / "left__000.txt").read_text()


def test_bad_requests_name_what_is_wrong(tmp_path):
    with pytest.raises(KinemaError, match=r"unknown task 'lefft'.*left"):
        run(RunSettings(**{**vars(toy()), "tasks": ("lefft",)}), tmp_path / "a", quiet=True)
    with pytest.raises(KinemaError, match="no artifact at this path"):
        run(toy(policy={"unfit": True}), tmp_path / "b", quiet=True)
    with pytest.raises(KinemaError, match="cannot import 'nowhere:Thing'"):
        Factory(target="nowhere:Thing").build()
    with pytest.raises(KinemaError, match="first episode's index must be at least 0; got -1"):
        replace(toy(), first=-1)
    run(toy(tasks=("left",)), tmp_path / "c", quiet=True)
    with pytest.raises(KinemaError, match=r"belongs to another run.*seed: there 5, now 9"):
        run(RunSettings(**{**vars(toy(tasks=("left",))), "seed": 9}), tmp_path / "c", quiet=True)


def test_episode_seeds_are_distinct_and_never_training_seeds():
    for task in ("push-v3", "panda/stack"):
        for run_seed in range(20):
            seeds = [episode_seed(run_seed, task, i) for i in range(500)]
            assert len(set(seeds)) == 500
            assert min(seeds) >= 0
            assert max(seeds) < EVALUATION_SEEDS_BELOW
    assert episode_seed(0, "push-v3", 0) != episode_seed(0, "reach-v3", 0)


def test_a_worker_whose_files_lie_elsewhere_is_the_same_and_other_weights_are_refused(tmp_path):
    """As on a machine that was sent them."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (here / "weights.safetensors").write_text("ours")
    settings = toy(policy={"folder": str(here)})
    playing = Playing(
        benchmark=settings.benchmark, policy=settings.policy, replan_steps=8, out=str(tmp_path / "out"),
        made_by=settings.made_by(),
    )  # fmt: skip
    assert playing.files() == (str(here),)
    here.rename(there)
    with pytest.raises(KinemaError, match=r"weights.safetensors of the policy was \w+ and is none"):
        playing.begin()
    moved = playing.moved({str(here): str(there)})
    with closing(moved.begin()) as player:
        played = player.do(EpisodeJob(task="left", index=0, seed=3, video="videos/left.gif"))
    assert set(played.files) == {"videos/left.gif"}
    played.write_files(tmp_path / "out")
    assert (tmp_path / "out" / "videos" / "left.gif").read_bytes() == played.files["videos/left.gif"]
    (there / "weights.safetensors").write_text("others")
    with pytest.raises(KinemaError, match=r"weights.safetensors of the policy was \w+ and is \w+"):
        moved.begin()


def test_the_kept_command_names_no_folder_of_this_machine() -> None:
    typed = ["/home/me/bin/kinema", "eval", "toy", "--policy", "/home/me/mine", "--out", "out/toy"]
    assert command_line(typed) == "kinema eval toy --policy mine --out out/toy"
