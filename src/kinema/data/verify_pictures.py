"""Looking at every picture: is it whole, of the right size, and does it change while the body moves?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from kinema.data.embedded import Embedded
from kinema.data.fault import Fault, Kind, remark
from kinema.data.metadata import STATE, EpisodeRecord, is_depth, picture_shape
from kinema.data.scan import Scan
from kinema.data.verify_clips import Placed, pictures_of, placed
from kinema.data.video import decode_all
from kinema.schema import KinemaError

_FROZEN = 0.5  # of an episode's pictures on end, at least so many
_FEWEST_FROZEN = 10


def seen(found: Scan, *, decode: bool) -> list[Fault]:
    """Faults of the pictures themselves; with `decode` every one is decoded, under a progress bar.

    Videos that cannot be decoded are in `found.errors` afterwards.
    """
    embedded = [key for key, f in found.info["features"].items() if f["dtype"] == "image"]
    total = sum(len(stream.times_s) for stream in found.videos.values()) * decode
    total += sum(file.length for file in found.files.values()) * len(embedded)
    faults: list[Fault] = []
    clips = placed(found)
    with tqdm(desc="decoding", unit="picture", total=total, leave=False, disable=not total) as bar:
        for path in list(found.videos) if decode else ():
            try:
                same = decode_all(found.root / path, bar.update)
            except KinemaError as error:
                found.errors[path] = str(error)
                continue
            faults += _frozen(found, path, same, clips.get(path, []))
        for key in embedded:
            faults += _embedded_faults(found, key, decode, bar.update)
    return faults


def _frozen(found: Scan, path: str, same: np.ndarray, clips: list[Placed]) -> Iterator[Fault]:
    """Remarks on episodes whose camera stood still for long while the body moved."""
    if len(same) != len(found.videos[path].times_s):
        return
    for p in clips:
        record, rows = p.record, found.rows_of(p.record)
        if rows is None or len(rows) != record.length:
            continue
        nearest, _ = pictures_of(found.videos[path], p.clip, record.length, found.fps)
        if len(nearest) < record.length or not same[nearest[1:]].any():
            continue
        start, length = _longest_run(same[nearest[1:]])
        if length + 1 >= max(_FEWEST_FROZEN, _FROZEN * record.length) and _moves(
            found, record, start, length
        ):
            told = f"{length + 1} of {record.length} pictures from frame {start} on show the same, in motion"
            yield remark(f"{path}, episode {record.index}", told)


def _longest_run(same: np.ndarray) -> tuple[int, int]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], same.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    at = int(np.argmax(ends - starts))
    return int(starts[at]), int(ends[at] - starts[at])


def _moves(found: Scan, record: EpisodeRecord, start: int, length: int) -> bool:
    """Whether the state changes while the pictures do not, by more than a hundredth of its range there."""
    states = found.files[record.data_path].columns.get(STATE)
    if states is None:
        return False
    mine = states[found.files[record.data_path].rows[record.index]].astype(float)
    meanwhile = mine[start : start + length + 1]
    return bool((np.ptp(meanwhile, axis=0) > 0.01 * np.ptp(states, axis=0) + 1e-9).any())


def _embedded_faults(found: Scan, key: str, decode: bool, told: Callable[[int], object]) -> Iterator[Fault]:
    feature = found.info["features"][key]
    pictures, shape, deep = Embedded(found.root), picture_shape(feature), is_depth(feature)
    for record in found.records:
        rows = found.rows_of(record)
        if rows is None or key in found.files[record.data_path].wrong:
            continue
        bad: list[str] = []
        for row in rows.tolist():
            try:
                got = (
                    pictures.picture(record.data_path, key, row).shape
                    if decode
                    else pictures.size(record.data_path, key, row)
                )
                if not _fits(got, shape, deep):
                    bad.append(f"{key}, row {row}: {_told(got)}, info.json says {_told(shape)}")
            except KinemaError as error:
                bad.append(str(error).removeprefix(f"{found.root / record.data_path}: "))
        told(len(rows))
        if bad:
            yield Fault(
                kind=Kind.SHAPE if "info.json says" in bad[0] else Kind.PICTURE,
                where=f"{record.data_path}, episode {record.index}",
                detail=bad[0] + (f" ({len(bad)} of {len(rows)} pictures)" if len(bad) > 1 else ""),
                repairable=False,
                episode=record.index,
            )


def _fits(got: tuple[int, ...], shape: tuple[int, int, int], deep: bool) -> bool:
    return got[:2] == shape[:2] and (got[2] == 3 or deep)  # grey ones of 8 bits are read as colours


def _told(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} × {shape[1]} × {shape[2]}"
