"""A task's raw arrays, as `kinema data make metaworld --raw` leaves them: one view, held in memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.data.picture import resize
from kinema.data.source import Source
from kinema.schema import KinemaError


def raw_source(folder: Path, card: EmbodimentCard, *, image_size: int) -> Source:
    """One task's demonstrations; windows begin at the steps that have a picture.

    Raises KinemaError where the pictures are smaller than `image_size`, which is what acting will see.
    """
    meta = json.loads((folder / "meta.json").read_text())
    with np.load(folder / "steps.npz", allow_pickle=False) as file:
        steps = {name: file[name] for name in file.files}
    size = meta["rendering"]["size_px"]
    if size < image_size:
        raise KinemaError(
            f"{folder}: pictures are {size} px, and {image_size} are needed; make them with: "
            f"kinema data make metaworld --raw --image-size {image_size}"
        )
    # in memory, not mapped: a machine short of page cache would read the same pictures again and again
    pictures = np.fromfile(folder / "frames.u8", np.uint8).reshape(-1, 1, size, size, 3)  # one view
    pictures = resize(pictures, image_size)
    frame, length = steps["frame"], steps["length"]
    return Source(
        name=meta["task"],
        card=card,
        images=lambda indices: pictures[frame[indices]],
        state=steps["state"],
        action=steps["action"],
        points=steps["points"],
        ends=np.unique(steps["start"] + length),
        task_index=np.zeros(len(frame), np.int64),
        tasks=[meta["instruction"]],
        starts=np.flatnonzero(frame >= 0),
    )
