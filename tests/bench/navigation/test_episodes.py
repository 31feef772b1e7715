"""Episode files of R2R-CE and RxR-CE: what was written is read, and what is wrong is named."""

from __future__ import annotations

import copy
import gzip
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema.bench.navigation.episodes import (
    Episode,
    Truth,
    off_the_floor,
    on_the_floor,
    read_episodes,
    rotation_of,
    write_episodes,
)
from kinema.schema import KinemaError

# As VLN-CE's own files have them (habitat_extensions/task.py).
R2R: dict[str, Any] = {
    "episode_id": 7,
    "trajectory_id": 4,
    "scene_id": "data/scene_datasets/mp3d/QUCTc6BB5sX/QUCTc6BB5sX.glb",
    "start_position": [-11.9, -0.2, 0.3],
    "start_rotation": [0, 0.7071068, 0, 0.7071068],
    "info": {"geodesic_distance": 9.3},
    "goals": [{"position": [-7.2, -0.2, -4.0], "radius": 3.0}],
    "instruction": {
        "instruction_text": "Walk out of the kitchen. \n",
        "instruction_tokens": [3, 4] + [0] * 198,
    },
    "reference_path": [[-11.9, -0.2, 0.3], [-7.2, -0.2, -4.0]],
}
RXR: dict[str, Any] = {
    **R2R,
    "episode_id": "12",
    "instruction": {
        "instruction_id": "12", "instruction_text": "You are facing a sofa", "language": "en-IN",
        "annotator_id": "3", "edit_distance": 0.1, "timed_instruction": [], "instruction_tokens": [],
    },
    "info": {"geodesic_distance": 9.3, "role": "guide"},
}  # fmt: skip
GT = {"7": {"locations": [[-11.9, -0.2, 0.3], [-11.6, -0.2, 0.3]], "actions": [1, 0], "forward_steps": 1}}


def pack(path: Path, content: Any) -> Path:
    path.write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))
    return path


def files(folder: Path, *episodes: dict[str, Any], truth: Any = None) -> Path:
    path = pack(folder / "val.json.gz", {"episodes": list(episodes), "instruction_vocab": {}})
    if truth is not None:
        pack(folder / "val_gt.json.gz", truth)
    return path


def same(a: Episode, b: Episode) -> bool:
    return json.dumps(asdict(a), default=np.ndarray.tolist) == json.dumps(
        asdict(b), default=np.ndarray.tolist
    )


def test_an_episode_of_r2r_is_read_with_its_truth(tmp_path: Path) -> None:
    (found,) = read_episodes(files(tmp_path, R2R, truth=GT))
    assert (found.episode_id, found.trajectory_id, found.scan) == ("7", "4", "QUCTc6BB5sX")
    assert found.scene_id == "mp3d/QUCTc6BB5sX/QUCTc6BB5sX.glb"
    assert found.instruction == "Walk out of the kitchen."
    assert (found.geodesic_m, found.radius_m, found.language) == (9.3, 3.0, None)
    assert found.truth is not None
    assert found.truth.actions == (1, 0)
    np.testing.assert_array_equal(found.truth.locations, GT["7"]["locations"])


def test_an_episode_of_rxr_is_read_by_the_same_reader(tmp_path: Path) -> None:
    hindi = copy.deepcopy(RXR)
    hindi["episode_id"], hindi["instruction"]["language"] = "13", "hi-IN"
    path = files(tmp_path, RXR, hindi)
    assert [(e.episode_id, e.language, e.role) for e in read_episodes(path)] == [
        ("12", "en-IN", "guide"), ("13", "hi-IN", "guide"),
    ]  # fmt: skip
    assert [e.episode_id for e in read_episodes(path, languages=("en-US", "en-IN"))] == ["12"]


def test_a_test_split_keeps_its_goals_secret(tmp_path: Path) -> None:
    secret = {key: value for key, value in R2R.items() if key not in ("info", "goals", "reference_path")}
    (found,) = read_episodes(files(tmp_path, secret))
    assert (found.goal, found.geodesic_m, found.reference_path, found.truth) == (None,) * 4


@pytest.mark.parametrize("original", [R2R, RXR])
def test_what_is_written_is_read(tmp_path: Path, original: dict[str, Any]) -> None:
    episodes = read_episodes(files(tmp_path, original))
    truth = Truth(locations=np.array([[0.0, 0, 1], [0, 0, 2]]), actions=(1, 2, 0))
    episodes = [replace(episode, truth=truth) for episode in episodes]
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "val_guide.json.gz"
    write_episodes(path, episodes)
    assert all(same(a, b) for a, b in zip(read_episodes(path), episodes, strict=True))
    first = path.read_bytes()
    write_episodes(path, episodes)
    assert path.read_bytes() == first
    gt = json.loads(gzip.decompress((tmp_path / "out" / "val_guide_gt.json.gz").read_bytes()))
    assert gt[episodes[0].episode_id]["forward_steps"] == 1


def test_instructions_are_numbered_as_r2r_has_them(tmp_path: Path) -> None:
    (episode,) = read_episodes(files(tmp_path, R2R))
    path = tmp_path / "made.json.gz"
    write_episodes(path, [replace(episode, instruction="Stop, stop at the sofa")])
    told = json.loads(gzip.decompress(path.read_bytes()))
    tokens, words = told["episodes"][0]["instruction"]["instruction_tokens"], told["instruction_vocab"]
    assert len(tokens) == 200
    assert tokens[:6] == [2, 3, 2, 4, 5, 6]
    assert set(tokens[6:]) == {words["PAD_INDEX"]}
    assert [words["itos"][token] for token in tokens[:3]] == ["stop", ",", "stop"]
    assert words["num_vocab"] == len(words["word_list"]) == 7
    assert words["UNK_INDEX"] == 1


def test_the_floor_seen_from_above_keeps_directions() -> None:
    """Habitat's base looks along -z, which is +y here; turning by its y axis is counter-clockwise in both."""
    places = np.array([[1.0, 2.0], [-3.0, 0.5]])
    np.testing.assert_array_equal(on_the_floor(off_the_floor(places)), places)
    for heading in (-3.0, -1.5, 0.0, 0.4, 1.5707, 3.1):
        _, y, _, w = rotation_of(heading)
        forward = np.array([-2 * w * y, 0.0, -(1 - 2 * y * y)])  # the quaternion applied to (0, 0, -1)
        np.testing.assert_allclose(on_the_floor(forward), [np.cos(heading), np.sin(heading)], atol=1e-12)
        episode = Episode(
            episode_id="1", trajectory_id="1", scene_id="a/b/b.glb", instruction="go",
            start_position=np.zeros(3), start_rotation=rotation_of(heading),
        )  # fmt: skip
        assert episode.heading_rad == pytest.approx(heading)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in R2R.items() if name != key}


WRONG = {
    "no instruction": (without("instruction"), "episode 7 has no instruction"),
    "no start": (without("start_position"), "episode 7 has no start_position"),
    "no scene": (R2R | {"scene_id": ""}, "episode 7: scene_id must be text"),
    "two numbers": (R2R | {"start_position": [0, 1]}, "episode 7: start_position must be finite numbers"),
    "words": (R2R | {"start_position": "here"}, "episode 7: start_position must be finite numbers"),
    "not finite": (
        R2R | {"start_position": [0, float("nan"), 0]},
        "episode 7: start_position must be finite",
    ),
    "no rotation": (
        R2R | {"start_rotation": [1, 1, 0, 0]},
        "episode 7: start_rotation must be a unit quatern",
    ),
    "two goals": (R2R | {"goals": R2R["goals"] * 2}, "episode 7: goals must be one goal"),
    "goal nowhere": (R2R | {"goals": [{"radius": 3}]}, "goals 0 has no position"),
    "an empty way": (R2R | {"reference_path": []}, "episode 7: reference_path must be finite numbers"),
    "a list for info": (R2R | {"info": [1]}, "episode 7: info must be a mapping"),
    "true for a name": (R2R | {"episode_id": True}, "episode_id must be a number or a word"),
    "no episode": ([], "episode number 0 must be a mapping"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_in_an_episode_is_named(tmp_path: Path, what: str) -> None:
    episode, message = WRONG[what]
    with pytest.raises(KinemaError, match=f"val.json.gz: .*{message}"):
        read_episodes(files(tmp_path, episode))  # type: ignore[arg-type]


def test_an_episode_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KinemaError, match="1 episodes have an episode_id that another one has"):
        read_episodes(files(tmp_path, R2R, R2R))


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ([], "file must be a mapping by episode_id"),
        ({"7": {"actions": [0]}}, "episode 7 has no locations"),
        ({"7": {"locations": [[0, 0, 0]], "actions": [9]}}, "episode 7: actions must be numbers of stop"),
        (
            {"7": {"locations": [[0, 0]], "actions": [0]}},
            "episode 7: locations must be finite numbers of shape",
        ),
    ],
)
def test_what_is_wrong_in_a_truth_is_named(tmp_path: Path, truth: Any, message: str) -> None:
    with pytest.raises(KinemaError, match=f"val_gt.json.gz: {message}"):
        read_episodes(files(tmp_path, R2R, truth=truth))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "is no whole .json.gz"),
        (gzip.compress(b'{"episodes": []}', mtime=0)[:-9], "is no whole .json.gz"),
        (gzip.compress(b'{"episodes": [', mtime=0), "holds no JSON"),
        (gzip.compress(b"[" * 200_000, mtime=0), "holds no JSON"),
        (gzip.compress(b"[]", mtime=0), "file must be a mapping"),
        (gzip.compress(b"{}", mtime=0), "file has no episodes"),
        (gzip.compress(b'{"episodes": {"a": 1}}', mtime=0), "file: episodes must be a list"),
    ],
)
def test_files_that_are_none_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "val.json.gz"
    path.write_bytes(content)
    with pytest.raises(KinemaError, match=message):
        read_episodes(path)


def test_a_file_that_unpacks_to_more_than_any_has_is_refused(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("kinema.bench.navigation.episodes._MOST_BYTES", 1 << 20)
    path = tmp_path / "val.json.gz"
    path.write_bytes(gzip.compress(b" " * (1 << 21)))
    with pytest.raises(KinemaError, match="unpacks to more than 1 MiB"):
        read_episodes(path)


def test_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KinemaError, match=r"val\.json\.gz is no whole"):
        read_episodes(tmp_path / "val.json.gz")
    with pytest.raises(KinemaError, match=r"is called SPLIT\.json\.gz"):
        write_episodes(tmp_path / "val.json", [])
