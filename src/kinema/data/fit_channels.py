"""A data set's columns as a card's channels: by name, in the card's units, inside the card's ranges.

Axes: N frames, m columns of the set, n channels of the card.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kinema.card.card import Channel, EmbodimentCard
from kinema.card.kinematics import home_rotation
from kinema.data.finding import Finding
from kinema.data.metadata import STATE, Metadata, channel_names, width_of
from kinema.data.set_map import FILE, ChannelMap, Scale, SetMap, scale_of
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_quat, matrix_from_rotvec, rotvec_from_matrix
from kinema.space.units import UNITS

MARGIN = 0.1  # of a channel's range: how far outside it a value may lie and still count as inside


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which of the set's columns (n,) are the card's channels, and what makes the card's numbers of them.

    turns: of rotation vectors that the set counts from another attitude, after their numbers are scaled
    """

    order: tuple[int, ...]
    scales: tuple[Scale, ...]
    turns: tuple[Turn, ...] = ()

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The set's values (N, m) as the card's, float32 (N, n)."""
        chosen = values[:, list(self.order)]
        if any(scale.changes for scale in self.scales):
            scale = np.array([s.scale for s in self.scales])
            chosen = chosen * scale + np.array([s.offset for s in self.scales])
        for turn in self.turns:
            chosen = turn(chosen)
        return np.ascontiguousarray(chosen, np.float32)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Rotation vectors from one attitude as those from another: matrix(ours) = matrix(theirs) @ between."""

    channels: tuple[int, ...]  # three of the card's
    between: np.ndarray  # (3, 3)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(N, n) to (N, n)"""
        turned = np.array(values, np.float64)
        at = list(self.channels)
        turned[:, at] = rotvec_from_matrix(matrix_from_rotvec(turned[:, at]) @ self.between)
        return turned


def columns_of(
    there: Metadata, feature_name: str, card: EmbodimentCard, told: SetMap
) -> tuple[Columns | None, list[Finding]]:
    """The set's states or actions as the card's, None where something is refused."""
    channels = card.states if feature_name == STATE else card.actions
    what = "state" if feature_name == STATE else "action"
    feature = there.features.get(feature_name)
    if feature is None:
        if not channels:
            return Columns(order=(), scales=()), []
        how = f"`columns: {{{feature_name}: ...}}` in {there.root / FILE} says which it is"
        has = f"no column {feature_name!r}, but {list(there.features)}"
        wanted = str([channel.name for channel in channels])
        return None, [Finding(what=f"{what} channels", found=has, wanted=wanted, verdict="refused", how=how)]
    names, units = channel_names(feature), _units(feature)
    order: list[int] = []
    scales: list[Scale] = []
    found: list[Finding] = []
    for channel in channels:
        line = told.line(channel.name, feature_name == STATE)
        at = _place(names, channel, line, what)
        if at is None:
            found.append(_missing(what, channel, line, names, there))
            continue
        scale, finding = _scale(what, channel, line, units.get(at), units.get(names[at]))
        order.append(at)
        scales.append(scale)
        if finding is not None:
            found.append(finding)
    own = [channel.name for channel in channels]
    extra = [name for i, name in enumerate(names) if i not in order]
    if extra and not any(f.verdict == "refused" for f in found):
        found.append(_extra(what, extra, told))
    if len(set(order)) < len(order):
        found.append(Finding(what=f"{what} channels", found=f"{names} for several", wanted=str(own),
                             verdict="refused", how="each channel of the card needs its own"))  # fmt: skip
    if any(f.verdict == "refused" for f in found):
        return None, found
    moved, turns = order != sorted(order), _turns(feature_name, card, told)
    for turn in turns:
        found.append(_turned(what, [channels[i].name for i in turn.channels]))
    return Columns(order=tuple(order), scales=tuple(scales), turns=turns), [
        Finding(what=f"{what} channels", found=str(names), wanted=str(own),
                verdict="converted" if moved or [names[i] for i in order] != own else "same",
                how="taken by name" if moved else ""),
        *found,
    ]  # fmt: skip


def _place(names: list[str], channel: Channel, line: ChannelMap, what: str) -> int | None:
    """Where a channel stands in the set; None where it is not, or not once."""
    key = line.action_key if what == "action" and line.action_key else line.key
    for name in [key] if key is not None else [channel.name, f"{channel.name}.pos"]:
        if names.count(name) == 1:
            return names.index(name)
    return int(key) if key is not None and key.isdecimal() and int(key) < len(names) else None


def _turns(feature_name: str, card: EmbodimentCard, told: SetMap) -> tuple[Turn, ...]:
    """Of the arms whose rotation vectors are attitudes, as states are and targets, and not displacements."""
    if feature_name != STATE and card.control != "ee_pose":
        return ()
    channels = card.states if feature_name == STATE else card.actions
    turns = []
    for arm in card.arms:
        if arm.side not in told.zero_attitude:
            continue
        slots = [f"{arm.side}.rot.{axis}" for axis in range(3)]
        at = tuple(i for slot in slots for i, channel in enumerate(channels) if channel.slot == slot)
        if len(at) == 3:
            theirs = matrix_from_quat(np.array(told.zero_attitude[arm.side]))
            turns.append(Turn(channels=at, between=theirs @ home_rotation(arm).T))
    return tuple(turns)


def _turned(what: str, names: list[str]) -> Finding:
    return Finding(what=f"{what} channels {names}", found="turned from another attitude",
                   wanted="turned from the card's", verdict="converted", how="as the map says")  # fmt: skip


def _missing(what: str, channel: Channel, line: ChannelMap, names: list[str], there: Metadata) -> Finding:
    key = line.key or "..."
    unnamed = names == [str(i) for i in range(len(names))]
    found = f"{len(names)} channels without names" if unnamed else f"the channels {names}"
    if not unnamed and len(names) > _NAMED:
        near = get_close_matches(channel.name, names, n=3, cutoff=0.0)
        found = f"{len(names)} channels, the most alike {near}"
    key = '"0"' if unnamed and line.key is None else key
    return Finding(
        what=f"{what} channel {channel.name!r}", found=found, wanted=f"{channel.name!r} ({channel.unit})",
        verdict="refused", how=f"{_mend(channel, f'{{key: {key}}}')} in {there.root / FILE}",
    )  # fmt: skip


def _extra(what: str, extra: list[str], told: SetMap) -> Finding:
    left = [name for name in extra if name not in told.leave_out]
    refused = what == "action" and bool(left)
    return Finding(
        what=f"{what} channels", found=f"also {extra}", wanted="none of these",
        verdict="refused" if refused else "note",
        how=f"if the body does without, say `leave_out: {left}`" if refused else "they are left out",
    )  # fmt: skip


def _scale(what: str, channel: Channel, line: ChannelMap, *said: str | None) -> tuple[Scale, Finding | None]:
    """What makes the card's numbers of the set's, and what is to be told of it.

    What the map says of a channel's numbers outranks the unit that the set says.
    """
    about = f"{what} channel {channel.name!r}"
    unit = next((u for u in said if u), None)
    known = _ALIASES.get(unit.lower(), unit) if unit else None
    mapped = line != ChannelMap(key=line.key, action_key=line.action_key, action=line.action)
    try:
        if known is None or mapped:
            scale = line.to_card(channel)
        elif known in UNITS:
            scale = scale_of(known, channel)
        else:
            return Scale(), Finding(what=about, found=f"the unknown unit {unit!r}", wanted=channel.unit,
                                    verdict="refused", how=_mend(channel, "{unit: ...}"))  # fmt: skip
    except KinemaError as error:
        return Scale(), Finding(what=about, found=f"unit {line.unit or unit}", wanted=channel.unit,
                                verdict="refused", how=str(error))  # fmt: skip
    outranked = mapped and known is not None and known != line.unit
    if not scale.changes and not outranked:
        return scale, None
    how = f"times {scale.scale:.6g} plus {scale.offset:.6g}"
    if outranked:
        how += f", as the map says; the set says {unit}"
    found = line.unit or (unit if unit and not mapped else "other numbers")
    return scale, Finding(what=about, found=found, wanted=channel.unit, verdict="converted", how=how)


class Rows(Protocol):
    """Whose each row (N,) is, of the set at `root`, with each episode's first row and end (E, 2)."""

    @property
    def root(self) -> Path: ...
    @property
    def episode_index(self) -> np.ndarray: ...
    @property
    def frame_index(self) -> np.ndarray: ...
    @property
    def episode_bounds(self) -> np.ndarray: ...


def values_outside(
    dataset: Rows, what: str, values: np.ndarray, channels: Sequence[Channel], told: SetMap
) -> Iterator[Finding]:
    """Values that are not finite, or outside the card's ranges."""
    if not len(values):
        return
    for channel, column in zip(channels, values.T):
        about = f"{what} channel {channel.name!r}"
        bad = np.flatnonzero(~np.isfinite(column))
        if len(bad):
            row = int(bad[0])
            place = f"episode {dataset.episode_index[row]}, frame {dataset.frame_index[row]}"
            how = f"`kinema data verify {dataset.root}` names all"
            yield Finding(
                what=about, found=f"{column[row]} in {place}", wanted="finite numbers", verdict="refused",
                how=how,
            )  # fmt: skip
            continue
        share = share_outside(column, channel)
        if not share:
            continue
        span = f"{column.min():.4g} … {column.max():.4g}"
        limits = f"{channel.range[0]:g} … {channel.range[1]:g} {channel.unit}"
        refused, line = share > told.outside, told.line(channel.name, what == "state")
        yield Finding(
            what=about,
            found=f"{span}, {100 * share:.3g} % of the frames outside",
            wanted=limits,
            verdict="refused" if refused else "note",
            how=_likely(channel, column, line) if refused else "few enough",
        )


def begins_closed(
    dataset: Rows, what: str, values: np.ndarray, channels: Sequence[Channel]
) -> Iterator[Finding]:
    """Grippers that would begin nearly every episode closed and open later: perhaps the set counts otherwise.

    Numbers alone cannot tell, so it is said and not refused.
    """
    first = dataset.episode_bounds[:, 0]
    for channel, column in zip(channels, values.T):
        if not channel.slot.endswith(".gripper") or not len(first):
            continue
        low, high = channel.range
        (closed, opened), opening = channel.closed_and_open, channel.opening(column)
        if np.mean(opening[first] < 0.25) > 0.8 and opening.max() > 0.75:
            yield Finding(
                what=f"{what} channel {channel.name!r}", found="nearly all episodes begin closed",
                wanted=f"{closed:g} closed, {opened:g} open", verdict="note",
                how=f"if the set counts the other way, {_mend(channel, f'{{ends: [{high:g}, {low:g}]}}')}",
            )  # fmt: skip


def share_outside(values: np.ndarray, channel: Channel) -> float:
    """Share of values outside a channel's range by more than a tenth of it."""
    low, high = channel.range
    margin = MARGIN * (high - low)
    return float(np.mean((values < low - margin) | (values > high + margin)))


def _likely(channel: Channel, column: np.ndarray, line: ChannelMap) -> str:
    """The lines that would bring these values into the channel's range."""
    if line.to_card(channel).changes:
        return "the map's unit, ends or scale of this channel does not fit its numbers"
    lines = [
        f"{{unit: {u.name}}}"
        for u in UNITS.values()
        if u.of == channel.unit and u.scale != 1 and _would_fit(column * u.scale, channel)
    ]
    reach = float(np.abs(column).max())
    whole = next((w for w in (1, 100, 255, 1000) if reach <= w * (1 + MARGIN)), None)
    if channel.unit in ("fraction", "normalised") and whole is not None:
        least = -whole if column.min() < -MARGIN * whole else 0
        lines += [f"{{ends: [{least}, {whole}]}}", f"{{ends: [{whole}, {least}]}}"]
    if not lines:
        return "if this is what the body did, widen the card's range or say `outside: 1`; else " + _mend(
            channel, "{scale: ..., offset: ...}"
        )
    first = "open" if channel.open == channel.range[0] else "closed"
    note = f" (first the number for {first})" if channel.slot.endswith(".gripper") else ""
    return " or ".join(_mend(channel, line) for line in lines) + note


def _would_fit(values: np.ndarray, channel: Channel) -> bool:
    """Whether these values are inside a channel's range, and not so small that nothing would move."""
    return not share_outside(values, channel) and bool(np.ptp(values) > 0.05 * np.ptp(channel.range))


def _mend(channel: Channel, line: str) -> str:
    return f"say `channels: {{{channel.name}: {line}}}`"


def _units(feature: Mapping[str, Any]) -> dict[int | str, str]:
    """What a feature says of its channels' units, by place or by name; mostly nothing."""
    info = feature.get("info") or {}
    for said in (feature.get("units"), feature.get("unit"), info.get("units"), info.get("unit")):
        if isinstance(said, str):
            return dict.fromkeys(range(width_of(feature)), said)
        if isinstance(said, Mapping):
            return {str(name): str(unit) for name, unit in said.items() if unit}
        if isinstance(said, list | tuple):
            return {i: str(unit) for i, unit in enumerate(said) if unit}
    return {}


_NAMED = 16  # channels of a set that are all told where one is missed
_ALIASES = {
    "degree": "deg", "degrees": "deg", "°": "deg", "radian": "rad", "radians": "rad",
    "meter": "m", "meters": "m", "metre": "m", "metres": "m", "millimeter": "mm", "millimeters": "mm",
    "millimetre": "mm", "millimetres": "mm", "centimeters": "cm", "centimetres": "cm", "%": "percent",
}  # fmt: skip
