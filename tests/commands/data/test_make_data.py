"""Recording demonstrations: failures are left out, a stopped recording goes on, settings cannot be mixed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from in_process import InProcess

from kinema import cli
from kinema.card.load import load_card
from kinema.commands.data import annotate
from kinema.commands.data import make as make_data
from kinema.commands.data.made import MADE, Told
from kinema.commands.data.make import make
from kinema.commands.data.play import FIRST_SEED, Recorded, Task
from kinema.data.lerobot import Dataset
from kinema.schema import KinemaError
from refusals import one_line

TASK = Task(world="tabletop", card="panda", name="pick_place", noise=1.0, image_size=16)


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A world whose expert fails on every third seed; returns the seeds that were played."""
    played: list[int] = []

    def play(task: Task, seed: int) -> Recorded:
        played.append(seed)
        card = load_card(task.card)
        steps = 3
        pictures = np.full((steps, task.image_size, task.image_size, 3), seed % 251, np.uint8)
        arrays = {
            "images": dict.fromkeys(card.camera_names, pictures),
            "state": np.tile([sum(c.range) / 2 for c in card.states], (steps, 1)).astype(np.float32),
            "action": np.full((steps, len(card.actions)), seed - FIRST_SEED, np.float32),
            "executed": np.tile([sum(c.range) / 2 for c in card.actions], (steps, 1)).astype(np.float32),
            "points": np.zeros((steps, len(card.cameras), 2, 3), np.float32),
            "task": task.name,
            "success": np.arange(steps) == steps - 1,
        }
        return Recorded(arrays=arrays, success=seed % 3 != 0)

    monkeypatch.setattr(make_data, "backend", InProcess)
    monkeypatch.setattr(make_data, "play", play)
    return played


def _recorded_seeds(folder: Path) -> list[int]:
    dataset = Dataset.open(folder)
    starts = [start for start, _ in dataset.episode_bounds]
    return [FIRST_SEED + int(dataset.action[start, 0]) for start in starts]


def test_only_successes_are_recorded_in_the_order_of_their_seeds(tmp_path: Path) -> None:
    assert make([TASK], tmp_path, episodes=5, workers=1) == {"panda": 5}
    wanted = [seed for seed in range(FIRST_SEED, FIRST_SEED + 10) if seed % 3][:5]
    assert _recorded_seeds(tmp_path / "panda") == wanted


def test_a_stopped_recording_goes_on_to_the_same_data(tmp_path: Path, world: list[int]) -> None:
    make([TASK], tmp_path / "at_once", episodes=6, workers=1)
    make([TASK], tmp_path / "in_two", episodes=2, workers=1)
    before = len(world)
    make([TASK], tmp_path / "in_two", episodes=6, workers=1)
    assert _recorded_seeds(tmp_path / "in_two" / "panda") == _recorded_seeds(tmp_path / "at_once" / "panda")
    assert len(set(world[before:])) == len(world[before:])
    assert make([TASK], tmp_path / "in_two", episodes=6, workers=1) == {"panda": 6}


@pytest.mark.parametrize("lost", ["the last line", "half of it", "all but its end"])
def test_an_episode_whose_line_was_lost_is_not_recorded_twice(tmp_path: Path, lost: str) -> None:
    """Killed, or out of space, between the episode and its line."""
    make([TASK], tmp_path / "at_once", episodes=6, workers=1)
    make([TASK], tmp_path / "killed", episodes=3, workers=1)
    made = tmp_path / "killed/made.jsonl"
    *lines, last = made.read_text().splitlines(keepends=True)
    made.write_text(
        "".join(lines) + {"the last line": "", "half of it": last[: len(last) // 2]}.get(lost, last[:-1])
    )
    make([TASK], tmp_path / "killed", episodes=6, workers=1)
    assert _recorded_seeds(tmp_path / "killed/panda") == _recorded_seeds(tmp_path / "at_once/panda")
    assert made.read_text() == (tmp_path / "at_once/made.jsonl").read_text()


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    make([TASK], tmp_path, episodes=1, workers=1)
    with (tmp_path / "made.jsonl").open("a") as file:
        file.write("{\n{}\n")
    with pytest.raises(KinemaError, match=r"made\.jsonl, line \d+: not a line of a recording"):
        make([TASK], tmp_path, episodes=2, workers=1)


def test_how_many_episodes_have_no_captions_is_said_with_the_first_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(annotate, "contradictions", lambda *_, **__: ["it flies", "it sings"])
    make([TASK], tmp_path, episodes=3, workers=1)
    said = capsys.readouterr().err
    assert (
        f"{tmp_path / 'panda'}: 3 episodes have no captions; the first, episode 0: it flies; it sings" in said
    )


def test_bodies_go_to_folders_of_their_own(tmp_path: Path) -> None:
    tasks = [TASK, replace(TASK, name="stack"), replace(TASK, card="ur5e")]
    assert make(tasks, tmp_path, episodes=2, workers=1) == {"panda": 4, "ur5e": 2}
    assert set(Dataset.open(tmp_path / "panda").tasks) == {"pick_place", "stack"}
    assert Dataset.open(tmp_path / "ur5e").card_name == "ur5e"


def test_settings_are_not_mixed(tmp_path: Path) -> None:
    make([TASK], tmp_path, episodes=1, workers=1)
    with pytest.raises(KinemaError, match="other settings of noise"):
        make([replace(TASK, noise=0.0)], tmp_path, episodes=2, workers=1)


def test_an_expert_that_fails_stops_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_data, "play", lambda *_: Recorded(arrays={}, success=False))
    with pytest.raises(KinemaError, match=r"solved 0 of \d+ episodes of pick_place"):
        make([TASK], tmp_path, episodes=30, workers=1)


def test_every_tried_seed_is_a_line(tmp_path: Path, world: list[int]) -> None:
    make([TASK], tmp_path, episodes=4, workers=1)
    lines = [json.loads(line) for line in (tmp_path / "made.jsonl").read_text().splitlines()]
    assert [line["seed"] for line in lines] == world
    assert sum(line["success"] for line in lines) == 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["make", "tabeltop", "--out", "x"], "did you mean tabletop"),
        (["make", "tabletop", "--out", "x", "--families", "pick_plce"], "did you mean pick_place"),
        (["make", "tabletop", "--out", "x", "--robots", "pnda"], "did you mean 'panda'"),
        (["make", "tabletop", "--out", "x", "--robots", "panda,g1"], "g1 does not stand at the tabletop"),
        (
            ["make", "tabletop", "--out", "x", "--latency-ms", "9"],
            "--latency-ms says nothing to the expert alone",
        ),
        (["make", "metaworld", "--out", "x", "--families", "rech-v3"], "did you mean reach-v3"),
        (["make", "libero", "--out", "x", "--views", "2"], "--views says nothing to libero"),
        (["make", "looks", "--out", "x", "--noise", "0"], "--noise says nothing to looks"),
        (["make", "tabletop"], "--out"),
        (["make", "tabletop", "--out", "x", "--episodes", "0"], "--episodes"),
        (["verify", "nowhere"], "not a folder"),
        (["repair", "nowhere"], "not a folder"),
        (["stats", "nowhere"], "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_makes_nothing(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    said = one_line(["data", *arguments], capsys)
    assert says in said
    assert list(tmp_path.iterdir()) == []


def test_verify_repair_and_stats_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make([TASK], tmp_path, episodes=2, workers=1)
    folder = tmp_path / "panda"
    assert cli.exit_code(["data", "verify", str(folder)]) == 0
    assert cli.exit_code(["data", "repair", str(folder)]) == 0
    assert cli.exit_code(["data", "stats", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "is sound" in printed
    assert "nothing was done" in printed
    assert "2 episodes, 6 frames" in printed
    next(folder.glob("videos/*/*/*.mp4")).unlink()
    assert cli.exit_code(["data", "verify", str(folder)]) == 1
    assert "missing file" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, '{"ur5e": {}}'])
def test_a_policy_that_cannot_act_first_is_refused_before_a_folder_is_made(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str], world: list[int]
) -> None:
    policy, out = tmp_path / "policy", tmp_path / "out"
    if content is not None:
        policy.mkdir()
        (policy / "stats.json").write_text(content)
    arguments = ["--robots", "panda", "--policy", str(policy), "--out", str(out)]
    assert cli.exit_code(["data", "make", "tabletop", *arguments]) == 2
    error = capsys.readouterr().err
    assert "is not a whole artifact" in error if content is None else "was not trained on panda" in error
    assert error.count("\n") == 1
    assert not out.exists()
    assert not world


NAMES = {"names": "families", "bodies": "robots", "size_px": "image_size", "latency_s": "latency_ms"}


@pytest.mark.parametrize("which", MADE)
def test_every_world_reads_the_options_that_it_heeds_and_no_other(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused says nothing to a world, and what says something is not refused."""
    read: set[str] = set()

    class Watched(Told):
        def __getattribute__(self, name: str) -> object:
            if name in Told.__dataclass_fields__:
                read.add(NAMES.get(name, name))
            return super().__getattribute__(name)

    monkeypatch.setattr(make_data, "make", lambda *_, **__: {})
    monkeypatch.setattr("kinema.bench.metaworld.demos.collect_metaworld", lambda *_, **__: {})
    for makes in ("make_hazards.make_scenes", "make_hazards.make_hazards", "make_looks.make_looks"):
        monkeypatch.setattr(f"kinema.commands.data.{makes}", lambda *_, **__: 0)
    monkeypatch.setattr("kinema.commands.data.make_human.make_human", lambda *_, **__: {})
    monkeypatch.setattr("kinema.bench.own_environment.OwnEnvironment.python", lambda _: Path("python"))
    for raw in (False, True):
        MADE[which].make(Watched(out=tmp_path, episodes=1, bodies=MADE[which].bodies[:1], raw=raw))
    told = {"out", "episodes"} | ({"workers", "ray"} if "workers" in MADE[which].heeds else set())
    assert read | told == set(MADE[which].heeds) | told
