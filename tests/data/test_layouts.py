"""Whatever lerobot loads opens: other names, other types, what others leave out or add."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from edits import data_file, edit_column, edit_info, edit_table, episodes_file, kinds
from PIL import Image

from kinema.commands.data.fits import sources
from kinema.data.fault import Kind
from kinema.data.inspect import inspect
from kinema.data.lerobot import Dataset
from kinema.data.measure import write_statistics
from kinema.data.metadata import channel_names, picture_shape
from kinema.data.repair import repair
from kinema.data.verify import verify
from kinema.schema import KinemaError

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A v3.0 data set that lerobot wrote."""
    return shutil.copytree(FIXTURES / "lerobot_v30", tmp_path / "v30")


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A v2.1 data set that lerobot wrote."""
    return shutil.copytree(FIXTURES / "lerobot_v21", tmp_path / "v21")


def _channels_first(root: Path) -> None:
    def change(info: dict[str, Any]) -> None:
        for key in ("observation.images.top", "observation.images.side"):
            info["features"][key] |= {"shape": [3, 64, 64], "names": ["channels", "height", "width"]}

    edit_info(root, change)


def _byte_order_mark(root: Path) -> None:
    path = root / "meta/info.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def _file_manager(root: Path) -> None:
    for path in [*root.rglob("*.parquet"), *root.rglob("*.mp4")]:
        (path.parent / f"._{path.name}").write_bytes(b"Mac OS X")


def _more_of_tasks(root: Path) -> None:
    edit_table(root / "meta/tasks.parquet", lambda t: t.append_column("note", pa.array(["x"] * len(t))))


def _text_and_matrix(root: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        table = table.append_column("note", pa.array([f"row {i}" for i in range(len(table))]))
        return table.append_column("matrix", pa.array([[[i, 2.0], [3.0, 4.0]] for i in range(len(table))]))

    edit_table(data_file(root), change)
    more = {
        "note": {"dtype": "string", "shape": [1], "names": None},
        "matrix": {"dtype": "float64", "shape": [2, 2], "names": None},
    }
    edit_info(root, lambda info: info["features"].update(more))


def _wider_numbers(root: Path) -> None:
    edit_table(data_file(root), lambda t: t.set_column(
        t.column_names.index("action"), "action", t["action"].cast(pa.list_(pa.float64()))
    ))  # fmt: skip


LAYOUTS: dict[str, Callable[[Path], object]] = {
    "as it is": lambda root: None,
    "channels first": _channels_first,
    "byte order mark": _byte_order_mark,
    "files of a file manager": _file_manager,
    "episode table without tasks": lambda r: edit_table(
        episodes_file(r), lambda t: t.drop_columns(["tasks"])
    ),
    "a task table with more": _more_of_tasks,
    "an episode table with more": lambda r: edit_table(
        episodes_file(r), lambda t: t.append_column("quality", pa.array([0.5] * len(t)))
    ),
    "text and a matrix": _text_and_matrix,
    "lists of doubles": _wider_numbers,
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_that_lerobot_loads_is_sound_and_opens(theirs: Path, tmp_path: Path, name: str) -> None:
    LAYOUTS[name](theirs)
    plain, dataset = Dataset.open(FIXTURES / "lerobot_v30"), Dataset.open(theirs)
    assert kinds(theirs) <= ({Kind.STATISTICS} if name == "text and a matrix" else set())
    np.testing.assert_array_equal(dataset.action, plain.action)
    assert [dataset.tasks[i] for i in dataset.task_index] == [plain.tasks[i] for i in plain.task_index]
    np.testing.assert_array_equal(dataset.frames("top", [0, 18]), plain.frames("top", [0, 18]))
    if name in ("text and a matrix", "lists of doubles"):  # another page
        inspect(theirs, tmp_path / "page.html")
    if name == "text and a matrix":
        assert dataset.texts("note")[18] == "row 18"
        np.testing.assert_array_equal(dataset.column("matrix")[5], [5, 2, 3, 4])


def test_an_older_set_may_call_its_chunk_otherwise(older: Path) -> None:
    edit_info(older, lambda i: i.update(data_path=i["data_path"].replace("episode_chunk", "chunk_index")))
    assert verify(older) == []
    assert Dataset.open(older).num_episodes == 3


def _renamed(root: Path) -> None:
    """As openpi's converters name things."""
    names = {"observation.state": "state", "action": "actions"}
    edit_table(data_file(root), lambda t: t.rename_columns([names.get(n, n) for n in t.column_names]))
    edit_info(root, lambda info: info.update(
        features={names.get(name, name): feature for name, feature in info["features"].items()}
    ))  # fmt: skip


def _one_by_joint(root: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        rows = np.array(table["action"].to_pylist(), np.float32)
        table = table.drop_columns(["action"])
        return table.append_column("pan", pa.array(rows[:, 0])).append_column("lift", pa.array(rows[:, 1]))

    edit_table(data_file(root), change)
    one = {"dtype": "float32", "shape": [1], "names": None}

    def features(info: dict[str, Any]) -> None:
        del info["features"]["action"]
        info["features"] |= {"pan": one, "lift": one}

    edit_info(root, features)


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        (_renamed, {"action": "actions", "observation.state": "state", "front": "observation.images.top"}),
        (_one_by_joint, {"action": ["pan", "lift"], "front": "top"}),
    ],
)
def test_columns_and_cameras_go_by_other_names(
    theirs: Path, tmp_path: Path, change: Any, columns: Any
) -> None:
    change(theirs)
    if columns["front"] == "top":
        columns = columns | {"front": "observation.images.top"}
    assert kinds(theirs) <= {Kind.STATISTICS}  # sound but for what the statistics are called
    inspect(theirs, tmp_path / "page.html")  # needs no action
    with pytest.raises(KinemaError, match="has no column 'action'"):
        _ = Dataset.open(theirs).action
    plain, dataset = Dataset.open(FIXTURES / "lerobot_v30"), Dataset.open(theirs, columns=columns)
    np.testing.assert_array_equal(dataset.action, plain.action)
    np.testing.assert_array_equal(dataset.state, plain.state)
    assert dataset.camera_names == ("front", "side")
    np.testing.assert_array_equal(dataset.frames("front", [3]), plain.frames("top", [3]))
    inspect(theirs, tmp_path / "page.html", columns=columns)
    if change is _one_by_joint:
        assert channel_names(dataset.metadata.features["action"]) == ["pan", "lift"]
    with pytest.raises(KinemaError, match="no column 'nothing'"):
        Dataset.open(theirs, columns={"action": "nothing"})


def test_a_map_is_read_from_the_command_line() -> None:
    assert sources("action=actions, observation.state=a+b") == {
        "action": ("actions",),
        "observation.state": ("a", "b"),
    }
    for wrong in ("action", "=x", "action=", "action=a++b"):
        with pytest.raises(KinemaError, match="write NAME=COLUMN"):
            sources(wrong)


@pytest.mark.parametrize(
    ("shape", "names", "found"),
    [
        ([48, 64, 3], None, (48, 64, 3)),
        ([3, 48, 64], None, (48, 64, 3)),
        ([3, 48, 64], ["channel", "height", "width"], (48, 64, 3)),
        ([48, 64, 3], ["height", "width", "channels"], (48, 64, 3)),
        ([64, 48, 3], ["width", "height", "channel"], (48, 64, 3)),
        ([3, 48, 64], ["height", "width", "channels"], (48, 64, 3)),  # named in the wrong order
        ([48, 64, 1], ["height", "width", "channels"], (48, 64, 1)),
        ([1, 48, 64], None, (48, 64, 1)),
    ],
)
def test_height_and_width_are_found(shape: list[int], names: Any, found: tuple[int, int, int]) -> None:
    assert picture_shape({"dtype": "video", "shape": shape, "names": names}) == found


@pytest.mark.parametrize(
    "names", [["a", "b"], [["a", "b"]], {"motors": ["a", "b"]}, {"a": 0, "b": 1}, {"x": ["a"], "y": ["b"]}]
)
def test_nested_names_are_the_channels(names: Any) -> None:
    assert channel_names({"dtype": "float32", "shape": [2], "names": names}) == ["a", "b"]


def test_an_empty_set_is_sound(theirs: Path) -> None:
    """As lerobot creates it: nothing but info.json."""
    for path in [theirs / "data", theirs / "videos", theirs / "meta/episodes"]:
        shutil.rmtree(path)
    (theirs / "meta/tasks.parquet").unlink()
    (theirs / "meta/stats.json").unlink()
    edit_info(theirs, lambda i: i.update(total_episodes=0, total_frames=0, total_tasks=0))
    assert verify(theirs) == []
    dataset = Dataset.open(theirs)
    assert (dataset.num_frames, dataset.state.shape, dataset.action.shape) == (0, (0, 3), (0, 2))
    assert dataset.frames("top", []).shape == (0, 64, 64, 3)
    with pytest.raises(KinemaError, match="holds no frame"):
        write_statistics(theirs)


# -- pictures in the data files


STORED = pa.struct({"bytes": pa.binary(), "path": pa.string()})
NOISE = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def _png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def embedded(theirs: Path) -> tuple[Path, np.ndarray]:
    """The set with one camera whose 8 x 6 pictures lie in the data file, and these pictures."""
    pictures = np.random.default_rng(0).integers(0, 256, (19, 6, 8, 3), dtype=np.uint8)
    stored = [{"bytes": _png(picture), "path": None} for picture in pictures]
    edit_table(
        data_file(theirs), lambda t: t.append_column("observation.images.hand", pa.array(stored, STORED))
    )
    hand = {"dtype": "image", "shape": [6, 8, 3], "names": ["height", "width", "channels"]}
    edit_info(theirs, lambda i: i["features"].update({"observation.images.hand": hand}))
    return theirs, pictures


HAND = "observation.images.hand"
BAD_PICTURES: dict[str, tuple[Any, Kind]] = {
    "rubbish": ({"bytes": b"rubbish", "path": None}, Kind.PICTURE),
    "cut": ({"bytes": _png(NOISE)[:90], "path": None}, Kind.PICTURE),
    "nothing": (None, Kind.PICTURE),
    "no bytes": ({"bytes": None, "path": None}, Kind.PICTURE),
    "a file that is missing": ({"bytes": None, "path": "images/3.png"}, Kind.PICTURE),
    "a file elsewhere": ({"bytes": None, "path": "/etc/hostname"}, Kind.PICTURE),
    "a file above": ({"bytes": None, "path": "../x.png"}, Kind.PICTURE),
    "another size": ({"bytes": _png(np.zeros((4, 4, 3), np.uint8)), "path": None}, Kind.SHAPE),
    "distances": ({"bytes": _png(np.full((6, 8), 700, np.uint16)), "path": None}, Kind.SHAPE),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_bad_embedded_picture_is_named(embedded: tuple[Path, np.ndarray], name: str) -> None:
    root, pictures = embedded
    np.testing.assert_array_equal(Dataset.open(root).frames("hand", [18, 0]), pictures[[18, 0]])
    assert Dataset.open(root).frames("hand", []).shape == (0, 6, 8, 3)
    assert verify(root) == []
    bad, kind = BAD_PICTURES[name]
    edit_column(data_file(root), HAND, lambda rows: [*rows[:7], bad, *rows[8:]])
    (fault,) = verify(root)
    assert (fault.kind, fault.episode) == (kind, 1)
    assert f"{HAND}, row 7" in fault.detail
    if name not in ("another size", "distances"):
        with pytest.raises(KinemaError, match=r"hand, row 7"):
            Dataset.open(root).frames("hand", [7])
    actions = repair(root)
    assert any(action.where == "episode 1" and not action.mended for action in actions)
    assert verify(root) == []
    np.testing.assert_array_equal(
        Dataset.open(root).frames("hand", np.arange(10)), pictures[[*range(6), *range(15, 19)]]
    )


def test_an_embedded_camera_that_is_missing_is_named(embedded: tuple[Path, np.ndarray]) -> None:
    root, _ = embedded
    edit_table(data_file(root), lambda t: t.drop_columns([HAND]))
    assert kinds(root) == {Kind.SHAPE}
    with pytest.raises(KinemaError, match=f"{HAND} is missing"):
        Dataset.open(root)


def test_a_row_group_is_read_once(embedded: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pictures are asked for, one after the other."""
    root, pictures = embedded
    read: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, i: int, **options: Any) -> pa.Table:
        read.append(i)
        return whole(self, i, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    dataset = Dataset.open(root)
    for i in np.random.default_rng(0).permutation(19):
        np.testing.assert_array_equal(dataset.frames("hand", [i])[0], pictures[i])
    assert len(read) == 1


def test_distances_come_as_they_are_stored(theirs: Path, tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (19, 6, 8)).astype(np.uint16)
    stored = [{"bytes": _png(picture), "path": None} for picture in deep]
    edit_table(data_file(theirs), lambda t: t.append_column(HAND, pa.array(stored, STORED)))
    hand = {"dtype": "image", "shape": [6, 8, 1], "names": None, "info": {"is_depth_map": True}}
    edit_info(theirs, lambda i: i["features"].update({HAND: hand}))
    assert verify(theirs) == []
    dataset = Dataset.open(theirs)
    assert dataset.is_depth("hand")
    read = dataset.frames("hand", np.arange(19))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, deep[..., None])
    inspect(theirs, tmp_path / "page.html")
    write_statistics(theirs)
    assert HAND not in json.loads((theirs / "meta/stats.json").read_text())  # they are no colours


# -- what belongs to others stays theirs


def test_statistics_leave_every_other_column_as_it_was(theirs: Path) -> None:
    _text_and_matrix(theirs)
    foreign = {
        "quality": pa.array([0.5, 1.5, 2.7]),
        "operator": pa.array(["a", None, "c"]),
        "good": pa.array([True, False, True]),
        "stats/theirs/min": pa.array([[1], [2], [3]]),
    }

    def change(table: pa.Table) -> pa.Table:
        for name, values in foreign.items():
            table = table.append_column(name, values)
        return table

    edit_table(episodes_file(theirs), change)
    before = pq.read_table(episodes_file(theirs))
    write_statistics(theirs)
    after = pq.read_table(episodes_file(theirs))
    for name in before.column_names:
        assert after.schema.field(name).type == before.schema.field(name).type, name
        if not name.startswith("stats/") or name in foreign:
            assert after[name].equals(before[name]), name
    assert len(json.loads((theirs / "meta/stats.json").read_text())["matrix"]["mean"]) == 2
    assert verify(theirs) == []


def test_repair_keeps_columns_and_types_that_it_does_not_know(theirs: Path) -> None:
    _text_and_matrix(theirs)
    write_statistics(theirs)
    edit_table(episodes_file(theirs), lambda t: t.append_column("quality", pa.array([0.5, 1.5, 2.7])))
    before = pq.read_table(data_file(theirs))
    edit_column(data_file(theirs), "index", lambda rows: [0] * len(rows))
    assert all(action.mended for action in repair(theirs))
    after = pq.read_table(data_file(theirs))
    assert after.schema.equals(before.schema)
    assert after.equals(before)
    assert pq.read_table(episodes_file(theirs))["quality"].to_pylist() == [0.5, 1.5, 2.7]
    assert verify(theirs) == []
