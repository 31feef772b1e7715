"""Camera streams as MP4: encode an episode, decode frames by time, join files without re-encoding.

Small pictures of small coloured things suffer most from halved colour resolution: in 96 px renderings
yuv420p costs 10 dB against yuv444p at the same quality setting (docs/your-data.md has the table). The
default therefore keeps full colour resolution with H.264; `LEROBOT` names the encoding that lerobot
records with, made for pictures several times as large.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from kinema.data.remote import here
from kinema.schema import KinemaError

_BT601, _LIMITED = 5, 1  # ffmpeg's numbers for the colour matrix and range that swscale assumes by default
_TASKS = Path("/proc/self/task")  # this process's threads


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How frames are compressed. `keyframe_every` frames one can be decoded without its neighbours."""

    codec: str = "libx264"
    pixel_format: str = "yuv444p"
    crf: int = 10
    preset: str = "veryfast"
    keyframe_every: int = 2

    def __post_init__(self) -> None:
        try:
            av.codec.Codec(self.codec, "w")
        except av.codec.codec.UnknownCodecError:
            raise KinemaError(
                f"this PyAV build cannot encode {self.codec!r}; choices usually are libx264, libsvtav1, mpeg4"
            ) from None

    @property
    def options(self) -> dict[str, str]:
        options = {"crf": str(self.crf), "preset": self.preset, "g": str(self.keyframe_every)}
        if self.codec == "libx264":
            options["bf"] = "0"  # no reordering: presentation and decoding order are one
        return options


FAITHFUL = Encoding()
LEROBOT = Encoding(codec="libsvtav1", pixel_format="yuv420p", crf=30, preset="12")


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What a video file holds: frame times in seconds, in order, without decoding a picture."""

    height: int
    width: int
    fps: float
    codec: str
    pixel_format: str
    times_s: np.ndarray  # float64 (n,)
    settings: bytes  # what a decoder is set up with; files can be joined when it is equal


def encode(path: Path, frames: np.ndarray, fps: float, encoding: Encoding = FAITHFUL) -> None:
    """Write uint8 frames (T, H, W, 3) as one MP4 at exactly `fps` frames per second, starting at time 0."""
    encode_blocks(path, [frames], fps, encoding)


def encode_blocks(
    path: Path, blocks: Iterable[np.ndarray], fps: float, encoding: Encoding = FAITHFUL
) -> None:
    """The same for frames that come some at a time, each block uint8 (T, H, W, 3)."""
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints its settings on every start otherwise
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(encoding.codec, rate=as_rate(fps), options=encoding.options)
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt = encoding.pixel_format
        stream.codec_context.colorspace, stream.codec_context.color_range = _BT601, _LIMITED
        stream.codec_context.thread_count = 1  # pictures are small; threads only cost start-up time
        for frames in blocks:
            if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
                raise KinemaError(
                    f"video frames must be uint8 (T > 0, H, W, 3); got {frames.dtype} {frames.shape}"
                )
            if not stream.codec_context.is_open:
                stream.height, stream.width = frames.shape[1:3]
                with _at_own_priority():
                    stream.codec_context.open()
            for picture in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@contextmanager
def _at_own_priority() -> Iterator[None]:
    """Leave the calling thread, and those that start meanwhile, scheduled as the calling thread was.

    SVT-AV1 makes itself and whoever opens it real-time threads of the highest priority where it may (as
    root, on Linux): a recorder would take the processor from the robot's loop.
    """
    if not hasattr(os, "sched_setscheduler") or not _TASKS.exists():
        yield
        return
    policy, parameters, others = os.sched_getscheduler(0), os.sched_getparam(0), set(os.listdir(_TASKS))
    try:
        yield
    finally:
        for thread in [0, *map(int, set(os.listdir(_TASKS)) - others)]:
            with suppress(ProcessLookupError):  # it has ended
                if os.sched_getscheduler(thread) != policy or os.sched_getparam(thread) != parameters:
                    os.sched_setscheduler(thread, policy, parameters)


def as_rate(fps: float) -> Fraction:
    """The frame rate as a fraction that video containers can keep exactly."""
    return Fraction(fps).limit_denominator(1001)


def probe(path: Path) -> Stream:
    """Read a file's index. Raises KinemaError when the file is missing, truncated or holds no video."""
    with opened(path) as container:
        stream = container.streams.video[0]
        try:
            ticks = sorted(p.pts for p in container.demux(stream) if p.pts is not None and p.size)
        except (av.FFmpegError, OSError) as error:
            raise KinemaError(f"{path} is damaged: {error}") from error
        context = stream.codec_context
        settings = f"{context.name} {context.pix_fmt} {context.width}x{context.height} {stream.time_base} "
        return Stream(
            height=context.height,
            width=context.width,
            fps=float(stream.average_rate or 0),
            codec=context.codec.canonical_name,
            pixel_format=context.pix_fmt or "",
            times_s=np.array(ticks, np.float64) * float(tick_s(stream)),
            settings=settings.encode() + (context.extradata or b""),
        )


def keyframe_interval(path: Path, most: int) -> int:
    """Most pictures from one key frame to the next among a file's first `most`; `most` where it has but one.

    No picture is decoded. Raises KinemaError when the file is missing, truncated or holds no video.
    """
    with opened(path) as container:
        packets = (packet for packet in container.demux(container.streams.video[0]) if packet.size)
        try:
            keys = [n for n, packet in enumerate(islice(packets, most)) if packet.is_keyframe]
        except (av.FFmpegError, OSError) as error:
            raise KinemaError(f"{path} is damaged: {error}") from error
    return max((b - a for a, b in pairwise(keys)), default=most)


def decode_all(path: Path, seen: Callable[[int], object] = lambda pictures: None) -> np.ndarray:
    """Decode every picture, one at a time. Raises KinemaError at the first that is damaged.

    seen: told how many more pictures are done, now and then. Returns bool (P,): pictures that show the same
    as the one before, in the order of their times.
    """
    same: list[bool] = []
    before: np.ndarray | None = None
    with opened(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"err_detect": "explode"}  # no guessing of what a picture held
        packets = 0
        try:
            for packet in container.demux(stream):
                packets += bool(packet.size)
                frames = packet.decode()
                for frame in frames:
                    now = _glimpse(frame)
                    same.append(before is not None and before.shape == now.shape and _alike(before, now))
                    before = now
                seen(len(frames))
        except (av.FFmpegError, ValueError) as error:
            raise KinemaError(f"{path} is damaged at picture {len(same)}: {error}") from error
    if len(same) != packets:
        raise KinemaError(f"{path} is damaged: {packets - len(same)} of {packets} pictures cannot be decoded")
    return np.array(same, bool)


def _glimpse(frame: av.VideoFrame) -> np.ndarray:
    """Every second pixel of the first plane (the luminance of a usual video)."""
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[::2, : frame.width : 2].astype(np.int16)


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for what compression makes of the same picture."""
    return int(np.abs(a - b).max(initial=0)) <= 3


def is_deep(pixel_format: str) -> bool:
    """Whether a video holds one value of more than 8 bits a pixel: distances, not colours."""
    return pixel_format.startswith("gray") and pixel_format not in ("gray", "gray8")


def join(paths: Sequence[Path], out: Path, fps: float, lengths: Sequence[int]) -> None:
    """Put files one behind the other without re-encoding; each lasts exactly `length / fps` seconds.

    The files must have equal `settings` (see `probe`).
    """
    with av.open(str(out), "w", format="mp4") as target:
        stream, start = None, 0
        for path, length in zip(paths, lengths, strict=True):
            with opened(path) as source:
                template = source.streams.video[0]
                if stream is None:
                    stream = target.add_stream_from_template(template, opaque=True)  # no encoder needed
                    stream.time_base = template.time_base
                for packet in source.demux(template):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + start, packet.dts + start
                    packet.stream = stream
                    target.mux(packet)
                start += round(Fraction(length) / as_rate(fps) / tick_s(template))


class Decoder:
    """One open video file, decoded by time. Seeks only when the wanted frame is not just ahead."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container = opened(path)
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "NONE"  # one frame at a time: threads add delay
        self._to_colours = VideoReformatter()  # one for all frames: to set it up takes longer than to use it
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._held: list[tuple[float, av.VideoFrame]] = []  # the last two decoded, with their times

    def at(self, times_s: np.ndarray, tolerance_s: float) -> np.ndarray:
        """Frames uint8 (n, H, W, 3) nearest to ascending `times_s` (n,); KinemaError beyond the tolerance.

        Of two frames that are equally near the earlier one. Distances (`is_deep`) are refused.
        """
        if is_deep(self._stream.codec_context.pix_fmt or ""):
            raise KinemaError(
                f"{self._path} holds distances ({self._stream.codec_context.pix_fmt}), not colours; "
                "depth videos are not read"
            )
        frames = [self._frame_at(float(t), tolerance_s) for t in times_s]
        coloured = [self._to_colours.reformat(frame, format="rgb24", threads=1) for frame in frames]
        return np.stack([frame.to_ndarray() for frame in coloured])

    def close(self) -> None:
        self._container.close()

    def _frame_at(self, time_s: float, tolerance_s: float) -> av.VideoFrame:
        try:
            first_s = self._held[0][0] if self._held else np.inf
            last_s = self._held[-1][0] if self._held else np.inf
            if not first_s <= time_s < last_s + 20 * tolerance_s:
                self._seek(time_s - tolerance_s / 2)
            self._decode_beyond(time_s)
        except av.FFmpegError as error:
            self._held = []
            raise KinemaError(f"{self._path} is damaged near {time_s:.3f} s: {error}") from error
        if not self._held:
            raise KinemaError(f"{self._path} has no frame at {time_s:.3f} s (is the video short?)")
        found_s, frame = min(self._held, key=lambda held: abs(held[0] - time_s))
        if abs(found_s - time_s) > tolerance_s:
            raise KinemaError(
                f"{self._path} has no frame at {time_s:.3f} s (is the video short?); "
                f"the nearest is at {found_s:.3f} s"
            )
        return frame

    def _decode_beyond(self, time_s: float) -> None:
        """Decode until the last frame is not before `time_s`, so that the nearest one is among those held."""
        while not self._held or self._held[-1][0] < time_s - 1e-6:
            frame = next(self._frames, None)
            if frame is None:
                return
            if frame.time is not None:
                self._held = [*self._held[-1:], (float(frame.time), frame)]

    def _seek(self, time_s: float) -> None:
        """Go to the last key frame at or before `time_s`."""
        offset = int(time_s / tick_s(self._stream))
        self._container.seek(max(offset, 0), stream=self._stream, backward=True)
        self._frames = self._container.decode(self._stream)
        self._held = []


class Decoders:
    """The most recently used decoders; bounded, because every open file keeps its buffers."""

    def __init__(self, capacity: int = 16) -> None:
        self._capacity = capacity
        self._open: OrderedDict[tuple[int, Path], Decoder] = OrderedDict()

    def __getitem__(self, path: Path) -> Decoder:
        key = (os.getpid(), path)  # a forked worker must not share the parent's file position
        if key not in self._open:
            self._open[key] = Decoder(path)
            if len(self._open) > self._capacity:
                (pid, _), decoder = self._open.popitem(last=False)
                if pid == os.getpid():
                    decoder.close()
        self._open.move_to_end(key)
        return self._open[key]

    def __getstate__(self) -> dict[str, object]:  # open files do not travel to another process
        return {"_capacity": self._capacity, "_open": OrderedDict()}


def tick_s(stream: av.VideoStream) -> Fraction:
    """The unit of the stream's time stamps."""
    return stream.time_base or Fraction(1, 1)


def opened(path: Path) -> av.container.InputContainer:
    """A file that holds a video. Raises KinemaError when it is missing, cannot be read or holds none."""
    try:
        container = av.open(str(here(path)))
    except FileNotFoundError:
        raise KinemaError(f"{path} is missing") from None
    except (av.FFmpegError, OSError) as error:
        raise KinemaError(f"{path} is not a readable video (truncated?): {error}") from error
    if not container.streams.video:
        container.close()
        raise KinemaError(f"{path} holds no video stream")
    # with threads of its own a decoder cannot be freed in a forked process, where these are not
    container.streams.video[0].codec_context.thread_count = 1
    return container
