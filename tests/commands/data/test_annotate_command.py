"""`kinema data annotate`: from the numbers, or from the pictures by an endpoint, asked only when given."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kinema import cli
from kinema.card.load import load_card
from kinema.commands.data.annotate import annotate, record_of, seen_by
from kinema.data.annotate import Annotation, Clip, UnansweredError
from kinema.data.captions import LAYERS, read_captions
from kinema.data.lerobot import Dataset
from kinema.data.lerobot_write import Writer
from kinema.schema import KinemaError
from kinema.worlds.words.narrate import narrate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    card, steps = load_card("panda"), 8
    state = np.tile(np.array([0.45, 0, 0.3, 0, 0, 0, 1], np.float32), (steps, 1))
    state[:, 1] = np.linspace(0, 0.1, steps)
    with Writer(tmp_path / "panda", card=card, image_size=16) as writer:
        for task in ("press the green button", "open the drawer", "press the red button"):
            writer.add_episode(
                images=dict.fromkeys(card.camera_names, np.zeros((steps, 16, 16, 3), np.uint8)),
                state=state,
                action=state,
                task=task,
                success=np.arange(steps) == steps - 1,
            )
    return tmp_path / "panda"


def test_every_episode_is_described_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.exit_code(["data", "annotate", str(folder), "--limit", "1"]) == 0
    assert set(read_captions(folder)) == {0}
    assert cli.exit_code(["data", "annotate", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "2 episodes described, 1 kept from before" in said
    assert "concise: The Franka Panda" in said
    assert read_captions(folder)[1].task == "drawer"


class Endpoint:
    """In the role of the annotator: answers with the truth, changed."""

    def __init__(self, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        self.change, self.clips = change, list[Clip]()

    def describe(self, clip: Clip, check: Callable[[Mapping[str, str]], Sequence[str]]) -> Annotation:
        self.clips.append(clip)
        told = narrate(self.record)
        layers = self.change({layer: getattr(told, layer) for layer in LAYERS})
        if faults := check(layers):
            raise UnansweredError("; ".join(faults))
        return Annotation(layers=layers, score=9.0, rounds=1)

    record: Any = None


def test_an_endpoint_sees_all_views_and_its_words_are_checked(folder: Path) -> None:
    honest = Endpoint(lambda layers: layers)
    honest.record = record_of(Dataset.open(folder), 0)
    assert annotate(folder, seen_by(honest), limit=1).new == 1  # type: ignore[arg-type]
    assert honest.clips[0].frames.shape == (8, 16, 32, 3)
    wrong = Endpoint(lambda layers: layers | {"goal": "The UR5e presses it."})
    wrong.record = record_of(Dataset.open(folder), 1)
    written = annotate(folder, seen_by(wrong), limit=1)  # type: ignore[arg-type]
    assert "it speaks of UR5e" in written.faulty[1]
    assert set(read_captions(folder)) == {0}


def test_an_endpoint_out_of_order_ends_the_run(folder: Path) -> None:
    def silent(*_: object) -> Any:
        raise UnansweredError("no answer after 4 tries")

    with pytest.raises(KinemaError, match="3 clips in a row without captions"):
        annotate(folder, silent)


@pytest.mark.parametrize(
    ("options", "says"),
    [(["--model", "m"], "--model belongs to --url"), (["--url", "http://x"], "name of a model")],
)
def test_nothing_is_sent_by_half_an_order(
    folder: Path, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.exit_code(["data", "annotate", str(folder), *options]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(4))
def test_channels_in_another_order_are_told_of_by_their_names(folder: Path, seed: int) -> None:
    told = narrate(record_of(Dataset.open(folder), 0))
    order = np.random.default_rng(seed).permutation(7)
    info = json.loads((folder / "meta/info.json").read_text())
    (file,) = (folder / "data").rglob("*.parquet")
    rows = pq.read_table(file)
    for name in ("observation.state", "action"):
        for each in ("names", "units"):
            info["features"][name][each] = [info["features"][name][each][i] for i in order]
        values = np.array(rows[name].to_pylist(), np.float32)[:, order]
        at = rows.schema.get_field_index(name)
        field = rows.schema.field(at)
        rows = rows.set_column(at, field, pa.array(values.tolist(), field.type))
    (folder / "meta/info.json").write_text(json.dumps(info))
    pq.write_table(rows, file)
    assert narrate(record_of(Dataset.open(folder), 0)) == told


@pytest.mark.parametrize("names", [["x", "y"], ["x", "gripper"], ["z", "gripper"]])
def test_numbers_that_cannot_be_the_named_channels_are_not_told_of(folder: Path, names: list[str]) -> None:
    info = json.loads((folder / "meta/info.json").read_text())
    for key in ("observation.state", "action"):
        there = info["features"][key]["names"]
        a, b = (there.index(name) for name in names)
        there[a], there[b] = there[b], there[a]
    (folder / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(KinemaError, match="does not fit card 'panda'"):
        record_of(Dataset.open(folder), 0)
