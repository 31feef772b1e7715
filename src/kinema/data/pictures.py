"""The pictures of a data set as they are stored: found by episode and frame, decoded when asked for."""

from __future__ import annotations

import numpy as np

from kinema.data.columns import read_table, whole_numbers
from kinema.data.embedded import Embedded
from kinema.data.metadata import picture_shape
from kinema.data.scan import Scan, rows_by_episode
from kinema.data.verify_clips import OFF_GRID, READ_WITHIN, in_order, laid_end_to_end, placed_in
from kinema.data.video import Decoders
from kinema.schema import KinemaError


class Pictures:
    """Native pictures of one data set. Episodes are positions in the episode table.

    Axes: n pictures.
    """

    def __init__(self, found: Scan) -> None:
        self._found = found
        self._decoders = Decoders()
        self._settled: set[tuple[str, int]] = set()  # video files whose clips are not where they should be
        self._starts_s: dict[tuple[str, int], float] = {}  # where they are instead, by camera and episode
        self._embedded = Embedded(found.root)
        self._rows: dict[str, dict[int, np.ndarray]] = {}  # of a data file's episodes: the file asked last

    def at(self, key: str, episodes: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """uint8 (n, H, W, 3) of a camera's feature; uint16 (n, H, W, 1) where that is stored."""
        feature = self._found.info["features"][key]
        if not len(episodes):
            height, width, _ = picture_shape(feature)
            return np.empty((0, height, width, 3), np.uint8)
        if feature["dtype"] == "image":
            return self._stored(key, episodes, frames)
        clips = self._found.records.clips[key]
        of, pictures = clips.files.of[episodes], None
        for file in dict.fromkeys(of.tolist()):
            chosen = np.flatnonzero(of == file)
            chosen = chosen[np.argsort(self._times_s(key, episodes[chosen], frames[chosen]), kind="stable")]
            found = self._decoded(key, file, episodes[chosen], frames[chosen])
            if pictures is None:
                pictures = np.empty((len(episodes), *found.shape[1:]), np.uint8)
            if found.shape[1:] != pictures.shape[1:]:
                raise KinemaError(
                    f"{self._found.root / clips.files.path(file)}: pictures are {found.shape[1:]}, "
                    f"not {pictures.shape[1:]}"
                )
            pictures[chosen] = found
        assert pictures is not None
        return pictures

    def _times_s(self, key: str, episodes: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Where these frames are in their video files."""
        starts_s = self._found.records.clips[key].start_s[episodes]
        if self._starts_s:
            starts_s = np.array(
                [self._starts_s.get((key, e), s) for e, s in zip(episodes.tolist(), starts_s)]
            )
        return starts_s + frames / self._found.fps

    def _decoded(self, key: str, file: int, episodes: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """The pictures of frames of one file, in the order of time.

        When one is not where its row says, the clips of the file are laid end to end where that fits the
        file exactly: offsets that are sums of many rounded ones drift. Otherwise the nearest picture serves.
        """
        path, fps = self._found.records.clips[key].files.path(file), self._found.fps
        decoder = self._decoders[self._found.root / path]
        if (key, file) not in self._settled:
            try:
                return decoder.at(self._times_s(key, episodes, frames), tolerance_s=OFF_GRID / fps)
            except KinemaError:
                self._settled.add((key, file))
                clips = placed_in(self._found, key, file)
                position = {self._found.records.number[e]: e for e in self._in_file(key, file)}
                for p, clip in zip(in_order(clips), laid_end_to_end(self._found, path, clips) or ()):
                    self._starts_s[key, position[p.record.index]] = clip.start_s
        return decoder.at(self._times_s(key, episodes, frames), tolerance_s=READ_WITHIN / fps)

    def _in_file(self, key: str, file: int) -> list[int]:
        return self._found.records.clips[key].files.episodes_in(file).tolist()

    def _stored(self, key: str, episodes: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Pictures stored in the parquet files (dtype "image") rather than in videos."""
        records, found = self._found.records, {}
        for episode, frame in sorted(set(zip(episodes.tolist(), frames.tolist()))):
            path = records.data.path(int(records.data.of[episode]))
            row = int(self._rows_of(path)[int(records.number[episode])][frame])
            found[episode, frame] = self._embedded.picture(path, key, row)
        shapes = {picture.shape for picture in found.values()}
        if len(shapes) > 1:
            raise KinemaError(f"{self._found.root}: pictures of {key} have several sizes: {sorted(shapes)}")
        return np.stack([found[place] for place in zip(episodes.tolist(), frames.tolist())])

    def _rows_of(self, path: str) -> dict[int, np.ndarray]:
        """The rows of each episode of a data file, by the episode's number."""
        if path in self._found.files:
            return self._found.files[path].rows
        if path not in self._rows:
            table = read_table(self._found.root / path, ["episode_index"])
            self._rows = {path: rows_by_episode(whole_numbers(table, "episode_index"))}
        return self._rows[path]
