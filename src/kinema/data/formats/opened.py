"""Which format a path is in, and the source that reads it."""

from __future__ import annotations

from pathlib import Path

from kinema.card.card import EmbodimentCard
from kinema.data.fits import open_set
from kinema.data.formats import hdf5, ros
from kinema.data.formats.egodex import EgoDex, is_egodex
from kinema.data.formats.hdf5 import Act, Robomimic
from kinema.data.formats.lerobot import LeRobot
from kinema.data.formats.mapped import Mapped
from kinema.data.formats.rlds import Rlds
from kinema.data.formats.ros import Bags
from kinema.data.formats.source import Source
from kinema.data.formats.zarr import ReplayBuffer
from kinema.data.metadata import INFO
from kinema.data.set_map import AS_IT_IS, SetMap
from kinema.schema import KinemaError

READABLE = (
    "LeRobot sets (meta/info.json), HDF5 of ACT, robomimic or EgoDex (.hdf5, .h5), replay buffers in Zarr "
    "(.zarr, .zarr.zip), ROS bags (.bag, .mcap, .db3, metadata.yaml), RLDS (features.json)"
)


def open_source(
    root: Path, card: EmbodimentCard, told: SetMap = AS_IT_IS, *, rate_hz: float | None = None, task: str = ""
) -> Source:
    """The recordings at `root`, of the card's body, under the names that `told` gives their columns.

    rate_hz: of the rows, where the format does not say it; task: of episodes without one. Raises KinemaError
    for a path in no format that is read, a file that is not what it should be and a rate that does not fit.
    """
    columns = {name: (s,) if isinstance(s, str) else tuple(s) for name, s in told.columns.items()}
    if (root / INFO).is_file():
        dataset = open_set(root, told)
        if rate_hz is not None and abs(dataset.fps / rate_hz - 1) > 2e-3:
            raise KinemaError(
                f"{root} has {dataset.fps:g} frames/s, not {rate_hz:g}; leave --rate out (a map's `rate_hz` "
                "outranks what the set says)"
            )
        return LeRobot(dataset, told.rate_hz)
    return Mapped(_foreign(root, rate_hz or told.rate_hz), columns, card, task)


def _foreign(root: Path, rate_hz: float | None) -> Source:
    if not root.exists():
        raise KinemaError(f"{root} is missing; readable: {READABLE}")
    if root.suffix == ".zarr" or root.name.endswith(".zarr.zip") or (root / "meta/episode_ends").exists():
        return ReplayBuffer(root, rate_hz)
    if (root / "features.json").is_file() or any(root.glob("*/features.json")):
        return Rlds(root, rate_hz)
    if root.suffix in ros.SUFFIXES or (root / "metadata.yaml").is_file():
        return Bags(root, rate_hz)
    if files := hdf5.files_below(root) if root.is_dir() or root.suffix in hdf5.SUFFIXES else []:
        if is_egodex(files[0]):
            return EgoDex(root, rate_hz)
        return Robomimic(root, rate_hz) if hdf5.is_robomimic(files[0]) else Act(root, rate_hz)
    if root.is_dir() and any(path.suffix in ros.SUFFIXES for path in root.rglob("*")):
        return Bags(root, rate_hz)
    raise KinemaError(f"{root} is in no format that is read; readable: {READABLE}")
