"""A short film as one file that any browser plays: MP4 (H.264) when PyAV is installed, else GIF."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image


def video_suffix() -> str:
    """ ".mp4" or ".gif", whichever this installation can write."""
    return ".mp4" if find_spec("av") else ".gif"


def write_video(path: Path, frames: np.ndarray, frames_per_s: float) -> None:
    """Write uint8 (T, H, W, 3) to `path` (.mp4 or .gif); sides are cut to even numbers for H.264."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    if path.suffix == ".gif":
        images = [Image.fromarray(frame) for frame in frames]
        images[0].save(path, save_all=True, append_images=images[1:], duration=1000 / frames_per_s, loop=0)
        return
    import av

    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=max(1, round(frames_per_s)))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.options = {"crf": "24", "preset": "veryfast"}
        for frame in frames:
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
            )
        container.mux(stream.encode(None))
