from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kinema.card.check import check_card
from kinema.card.load import card_names, load_card, people_names
from kinema.card.prompt import prompt
from kinema.data import aligned, clips
from kinema.data.aligned import SegmentClips, aligned_sets, hand_clips
from kinema.data.metadata import Metadata
from kinema.schema import KinemaError
from kinema.space.clip_shape import BACKGROUND, ClipShape
from kinema.worlds.hand.stage import cameras

LENGTHS = (100, 20)


class _Cache:
    """Pictures whose red says which stream they are of and whose green and blue say the frame."""

    def __init__(self, dataset: object, way: str, *, size: int, cameras: tuple[str, ...]) -> None:
        self.size, self.cameras = size, cameras
        self._red = [aligned.STREAMS.index(name.rpartition("_")[0]) for name in cameras]

    def __call__(self, steps: np.ndarray) -> np.ndarray:
        pictures = np.zeros((len(steps), len(self.cameras), self.size, self.size, 3), np.uint8)
        pictures[..., 0], pictures[..., 1] = np.array(self._red)[:, None, None], steps[:, None, None, None]
        return pictures


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.setattr(aligned, "images_of", _Cache)
    ends = np.cumsum(LENGTHS)
    names = [f"{s}_{v}" for s in aligned.STREAMS for v in ("front", "side")]
    colours = {"dtype": "video", "shape": [16, 16, 3], "names": ["height", "width", "channels"]}
    features = {f"observation.images.{name}": colours for name in names}
    metadata = Metadata(
        root=Path("somewhere"), version="v3.0", robot_type="ur5e", fps=10, features=features, tasks=(),
        episodes=(), info={},
    )  # fmt: skip
    return SimpleNamespace(
        root=metadata.root,
        metadata=metadata,
        fps=10,
        camera_key=lambda name: f"observation.images.{name}",
        card_name="ur5e",
        camera_names=tuple(f"{s}_{v}" for s in aligned.STREAMS for v in ("front", "side")),
        num_frames=sum(LENGTHS),
        episode_bounds=np.stack([ends - LENGTHS, ends], 1),
        episode_index=np.repeat(np.arange(len(LENGTHS)), LENGTHS),
    )


def test_a_film_begins_with_what_is_known_before_there_is_a_robot(dataset: SimpleNamespace) -> None:
    shape = ClipShape(frames=13, every=3, size=16)
    for segment, beside in (("empty", 1), ("robot_alone", BACKGROUND), ("robot", 1)):
        clips = SegmentClips(dataset, segment, shape)  # type: ignore[arg-type]
        films = clips.frames(np.arange(len(clips)))
        assert films.shape == (len(clips), 13, 2, 16, 16, 3)
        assert (films[:, 0, ..., 0] == beside).all()
        assert (films[:, 1:, ..., 0] == aligned.STREAMS.index(segment)).all()
        if segment != "robot_alone":
            np.testing.assert_array_equal(films[:, 0, ..., 1], films[:, 1, ..., 1])
        steps = films[:, 1:, 0, 0, 0, 1]
        np.testing.assert_array_equal(steps[0], np.arange(0, 36, 3))
        short = steps[steps[:, 0] >= LENGTHS[0]]
        assert len(short) > 1
        assert short.max() == sum(LENGTHS) - 1  # the episode's last picture is held
    with pytest.raises(KinemaError, match=r"unknown segment 'human'; choices: empty, robot_alone, robot"):
        SegmentClips(dataset, "human", shape)  # type: ignore[arg-type]


def test_a_folder_without_streams_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(KinemaError, match="kinema data make human --out"):
        aligned_sets(tmp_path)


def test_the_hand_has_a_card_but_is_no_robot() -> None:
    assert "hand" in people_names()
    assert not set(people_names()) & set(card_names())
    check_card("hand")
    hand = load_card("hand")
    assert prompt(hand, "push it.", 16) == "The person shows with a human hand: push it."
    table = {camera.name: camera for camera in cameras(np.eye(4))}
    for camera in hand.cameras:
        np.testing.assert_allclose(camera.pos_m, table[camera.name].pos_m, atol=1e-4)
        np.testing.assert_allclose(camera.quat_wxyz, table[camera.name].quat_wxyz, atol=1e-4)


def test_the_hand_is_seen_in_any_body_s_set(
    dataset: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "images_of", _Cache)
    monkeypatch.setattr(clips, "read_captions", lambda root: {})
    dataset.task_index, dataset.tasks = np.zeros(sum(LENGTHS), int), ["push it"]
    hand = hand_clips(dataset, load_card("hand"), ClipShape(frames=5, every=3, size=16))  # type: ignore[arg-type]
    assert hand.cameras == ("front", "side")
    assert hand.views == 2
    frames = hand.frames(np.array([0]))
    assert (frames[..., 0] == aligned.STREAMS.index("human")).all()
    np.testing.assert_array_equal(frames[0, :, 0, 0, 0, 1], np.arange(0, 15, 3))
    with pytest.raises(KinemaError, match="robot_type: the set has 'ur5e', the card 'hand'"):
        clips.ClipSource(dataset, load_card("hand"), ClipShape())  # type: ignore[arg-type]
