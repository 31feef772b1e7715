"""The one comparison of a data set with a card: what is the same, what is converted, what is refused.

Training, clips, recording and conversion all ask it. What a set says (robot, rate, channel names and units,
cameras and their kind) and what its numbers show (values against the card's ranges) is compared before the
first step. Where a conversion is defined it is done: another rate, another order of the same channels, a
unit that the set or the user names, cameras by name. Everything else is refused with the line that mends it.

Axes: N frames, S state channels, D action channels, V cameras, P points.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import CardError, load_card
from kinema.data.finding import Finding, Verdict
from kinema.data.fit_channels import Columns, begins_closed, columns_of, values_outside
from kinema.data.index import Index
from kinema.data.lerobot import Dataset
from kinema.data.metadata import ACTION, STATE, Metadata, camera_names, is_depth, picture_shape
from kinema.data.resample import kind_of
from kinema.data.set_map import FILE, SetMap, set_map_of
from kinema.schema import KinemaError, check_instruction

_log = logging.getLogger(__name__)
_SAME_RATE = 2e-3  # relative: 29.97 and 30 are one rate, a chunk of either is as long


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What comparing a set's metadata gave; `states` and `actions` are None where they were refused."""

    findings: tuple[Finding, ...]
    ratio: float  # the set's frames for each control step of the card
    cameras: tuple[str, ...]  # the set's names, in the card's order
    states: Columns | None
    actions: Columns | None


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A data set in the card's terms; `states` and `actions` make the card's numbers of the set's."""

    findings: tuple[Finding, ...]
    ratio: float
    cameras: tuple[str, ...]
    states: Columns
    actions: Columns
    state: np.ndarray  # float32 (N, S)
    action: np.ndarray  # float32 (N, D)
    executed: np.ndarray | None  # float32 (N, D)
    points: np.ndarray | None  # float32 (N, V, P, 3)


def fit(dataset: Dataset, card: EmbodimentCard, told: SetMap | None = None) -> Fit:
    """The data set as the card's, or KinemaError naming set, channel, values, ranges and what mends it.

    told: what the user says of the set; None reads `kinema.yaml` in its folder
    """
    told = set_map_of(dataset.root) if told is None else told
    declared = compare(dataset.metadata, card, told, _cameras(dataset))
    refuse(dataset, card, declared.findings)
    assert declared.states is not None
    assert declared.actions is not None
    state, action = declared.states(dataset.state), declared.actions(dataset.action)
    executed = None if dataset.executed is None else declared.actions(dataset.executed)
    found = [*declared.findings, *_tasks(dataset)]
    for what, values, channels in (
        ("state", state, card.states), ("action", action, card.actions), ("executed", executed, card.actions),
    ):  # fmt: skip
        if values is not None:
            found += values_outside(dataset, what, values, channels, told)
    refuse(dataset, card, found)
    found += begins_closed(dataset, "action", action, card.actions)
    for finding in found:
        if finding.verdict != "same":
            _log.warning("%s: %s", dataset.root, finding)
    points = dataset.points
    if points is not None:
        points = points[:, [dataset.camera_names.index(name) for name in declared.cameras]]
    return Fit(
        findings=tuple(found), ratio=declared.ratio, cameras=declared.cameras,
        states=declared.states, actions=declared.actions,
        state=state, action=action, executed=executed, points=points,
    )  # fmt: skip


def films_fit(
    dataset: Dataset, card: EmbodimentCard, cameras: Mapping[str, str] | None = None
) -> tuple[float, dict[str, str]]:
    """For what is learnt from pictures alone: the set's frames per control step, and its cameras by name.

    cameras: the set's by the name that is wanted, when it is not of a robot with the card's cameras; None
    compares robot and cameras with the card. Raises KinemaError where they do not fit.
    """
    told = set_map_of(dataset.root)
    if cameras is not None:
        chosen = {name: dataset.camera_key(own) for name, own in cameras.items()}
        found = [_picture(f"camera {n!r}", k, n, dataset.metadata.features[k]) for n, k in chosen.items()]
        shown = dict(cameras)
    else:
        names, found = compare_cameras(dataset.metadata, card, told.cameras, _cameras(dataset))
        found = [_robot(dataset.metadata, card, told), *found]
        shown = dict(zip(card.camera_names, names))
    refuse(dataset, card, found)
    return _ratio(dataset.metadata, card, told), shown


def numbers_fit(dataset: Dataset, card: EmbodimentCard) -> tuple[np.ndarray, np.ndarray]:
    """What was measured (N, S) and sent (N, D) in the card's terms, whatever the cameras show.

    Raises KinemaError where robot, rate, channels or values are not the card's.
    """
    told = set_map_of(dataset.root)
    declared = compare(dataset.metadata, card, told, _cameras(dataset))
    found = [finding for finding in declared.findings if not finding.what.startswith("camera")]
    refuse(dataset, card, found)
    assert declared.states is not None
    assert declared.actions is not None
    if declared.ratio != 1:
        raise KinemaError(f"{dataset.root} has {dataset.fps:g} frames/s, {card.name} {card.control_hz:g}")
    sent = dataset.action if dataset.executed is None else dataset.executed
    state, action = declared.states(dataset.state), declared.actions(sent)
    for what, values, channels in (("state", state, card.states), ("action", action, card.actions)):
        found += values_outside(dataset, what, values, channels, told)
    refuse(dataset, card, found)
    return state, action


def findings(dataset: Dataset, card: EmbodimentCard, told: SetMap | None = None) -> tuple[Finding, ...]:
    """All that the comparison says, refusals included; values of channels that could be told apart."""
    told = set_map_of(dataset.root) if told is None else told
    declared = compare(dataset.metadata, card, told, _cameras(dataset))
    found = [*declared.findings, *_tasks(dataset)]
    for what, columns, values, channels in (
        ("state", declared.states, dataset.state, card.states),
        ("action", declared.actions, dataset.action, card.actions),
    ):
        if columns is not None:
            found += values_outside(dataset, what, columns(values), channels, told)
    if declared.actions is not None:
        found += begins_closed(dataset, "action", declared.actions(dataset.action), card.actions)
    return tuple(found)


class HasRoot(Protocol):
    @property
    def root(self) -> Path: ...


def refuse(dataset: HasRoot, card: EmbodimentCard, found: Sequence[Finding]) -> None:
    """Raise KinemaError when there is a refusal; the first few are told."""
    once = {
        finding.how or str(finding): finding for finding in reversed(found) if finding.verdict == "refused"
    }
    refused = list(reversed(once.values()))  # state and action of a channel have one fault and one mend
    if refused:
        more = f" (and {len(refused) - 3} more)" if len(refused) > 3 else ""
        said = "; ".join(str(finding) for finding in refused[:3])
        raise KinemaError(
            f"{dataset.root} does not fit card {card.name!r}: {said}{more}. "
            f"`kinema data fits {dataset.root} --card {card.name}` shows the whole comparison"
        )


def open_set(root: Path | str, told: SetMap | None = None) -> Dataset:
    """A data set with its columns under the names they are asked for here; None reads its `kinema.yaml`."""
    told = set_map_of(Path(root)) if told is None else told
    return Dataset.open(root, columns=told.columns)


def open_index(root: Path | str, told: SetMap | None = None) -> Index:
    """The same by its metadata alone, whatever its size."""
    told = set_map_of(Path(root)) if told is None else told
    return Index.open(root, columns=told.columns)


def card_of(dataset: Index, told: SetMap | None = None) -> EmbodimentCard:
    """The card of the body that a data set is of: as the map says (None: its `kinema.yaml`), else robot_type.

    Raises KinemaError naming the folder where neither is a card.
    """
    told = set_map_of(dataset.root) if told is None else told
    name = told.card or dataset.card_name
    try:
        return load_card(name)
    except CardError as error:
        said = f"robot_type is {name!r}" if name else "info.json names no robot_type"
        raise KinemaError(
            f"{dataset.root}: {'card' if told.card else said}: {error}. Say whose data these are in "
            f"{dataset.root / FILE}: `card: ...` (docs/your-data.md, section 2), or move the folder away"
        ) from None


def _cameras(dataset: Dataset) -> dict[str, str]:
    """The feature of each camera by its name."""
    return {name: dataset.camera_key(name) for name in dataset.camera_names}


def compare(
    there: Metadata, card: EmbodimentCard, told: SetMap, cameras: Mapping[str, str] | None = None
) -> Declared:
    """What a data set says of itself against a card: robot, rate, cameras, channels and their units.

    cameras: the set's features by their names; None: as info.json names them
    """
    found = [_robot(there, card, told), *_unknown(card, told)]
    states, of_states = columns_of(there, STATE, card, told)
    actions, of_actions = columns_of(there, ACTION, card, told)
    chosen, of_cameras = compare_cameras(there, card, told.cameras, cameras)
    found += [_rate(there, card, told), *of_states, *of_actions, *of_cameras]
    return Declared(
        findings=tuple(found),
        ratio=_ratio(there, card, told),
        cameras=chosen,
        states=states,
        actions=actions,
    )


def _robot(there: Metadata, card: EmbodimentCard, told: SetMap) -> Finding:
    name = there.robot_type or ""
    same = name == card.name
    said = told.card is not None and (told.card == card.name or Path(told.card).stem == card.name)
    verdict: Verdict = "same" if same else "converted" if said else "refused"
    how = {
        "same": "",
        "converted": f"`card: {card.name}` says that it is this body",
        "refused": f"if it was recorded on this body, say so in {there.root / FILE}: `card: {card.name}`",
    }[verdict]
    found = repr(name) if name else "none"
    return Finding(what="robot_type", found=found, wanted=repr(card.name), verdict=verdict, how=how)


def _unknown(card: EmbodimentCard, told: SetMap) -> Iterator[Finding]:
    """Names on the left of a map that the card does not have."""
    channels = [channel.name for channel in (*card.states, *card.actions)]
    for what, names, choices in (
        ("channels of the map", told.channels, channels),
        ("cameras of the map", told.cameras, card.camera_names),
        ("arms of the map's zero_attitude", told.zero_attitude, [arm.side for arm in card.arms]),
    ):
        if wrong := [name for name in names if name not in choices]:
            yield Finding(what=what, found=str(wrong), wanted=str(list(dict.fromkeys(choices))),
                          verdict="refused", how="names of the card stand on the left")  # fmt: skip


def _ratio(there: Metadata, card: EmbodimentCard, told: SetMap) -> float:
    """The set's rows for each control step of the card. The map outranks info.json."""
    ratio = (told.rate_hz or there.fps) / card.control_hz
    return 1.0 if abs(ratio - 1) < _SAME_RATE else ratio


def _rate(there: Metadata, card: EmbodimentCard, told: SetMap) -> Finding:
    found, wanted = f"{there.fps:g} frames/s", f"{card.control_hz:g} Hz"
    if _ratio(there, card, told) == 1:
        if told.rate_hz is None or told.rate_hz == there.fps:
            return Finding(what="rate", found=found, wanted=wanted, verdict="same")
        how = f"`rate_hz: {told.rate_hz:g}`, as the map says"
        return Finding(what="rate", found=found, wanted=wanted, verdict="converted", how=how)
    if told.rate_hz is not None:
        found = f"{told.rate_hz:g} rows/s, as the map says; the set says {there.fps:g}"
    for channel in card.actions:
        try:
            kind_of(channel)
        except KinemaError as error:
            how = f"{error}, or say `rate_hz: {card.control_hz:g}` if its rows are that and it says otherwise"
            return Finding(what="rate", found=found, wanted=wanted, verdict="refused", how=how)
    return Finding(
        what="rate", found=found, wanted=wanted, verdict="converted", how="windows are cut by time"
    )


def compare_cameras(
    there: Metadata, card: EmbodimentCard, told: Mapping[str, str], cameras: Mapping[str, str] | None = None
) -> tuple[tuple[str, ...], list[Finding]]:
    """The set's cameras in the card's order, and what was found; `told`: the set's names by the card's."""
    if cameras is None:
        cameras = {name: key for key, name in camera_names(there.features).items()}
    features = {name: there.features[key] for name, key in cameras.items()}
    chosen, found = [], []
    for name in card.camera_names:
        own = told.get(name, name)
        what = f"camera {name!r}"
        if own not in features:
            mend = f"`cameras: {{{name}: ...}}` says which shows what this one does"
            found.append(Finding(what=what, found=f"the cameras {list(features)}", wanted=repr(own),
                                 verdict="refused", how=mend))  # fmt: skip
            continue
        chosen.append(own)
        found.append(_picture(what, own, name, features[own]))
    if twice := sorted({own for own in chosen if chosen.count(own) > 1}):
        found.append(Finding(what="cameras", found=f"{twice} for several", wanted="one each",
                             verdict="refused", how="each camera of the card needs its own"))  # fmt: skip
    if extra := [name for name in features if name not in chosen]:
        found.append(Finding(what="cameras", found=f"also {extra}", wanted="none of these", verdict="note",
                             how="they are left out"))  # fmt: skip
    return tuple(chosen), found


def _picture(what: str, own: str, name: str, feature: Mapping[str, Any]) -> Finding:
    info = feature.get("info") or {}
    kind = str(info.get("video.pix_fmt", info.get("pix_fmt", "")))
    found = f"{own!r}, {list(feature['shape'])}{f', {kind}' if kind else ''}"
    if is_depth(feature) or picture_shape(feature)[2] != 3 or kind.startswith("gray"):
        return Finding(what=what, found=f"{found}: distances or grey, not colours", wanted="colours (RGB)",
                       verdict="refused", how=f"map another: `cameras: {{{name}: ...}}`")  # fmt: skip
    verdict: Verdict = "same" if own == name else "converted"
    return Finding(what=what, found=found, wanted=repr(name), verdict=verdict)


def _tasks(dataset: Dataset) -> Iterator[Finding]:
    """Instructions that no policy can be given."""
    for number, task in enumerate(dataset.tasks):
        try:
            check_instruction(task)
        except KinemaError as error:
            rows = np.flatnonzero(dataset.task_index == number)
            if len(rows):
                episode = int(dataset.episode_index[rows[0]])
                yield Finding(
                    what=f"task {number}, episode {episode}", found=repr(task[:60]), wanted="an instruction",
                    verdict="refused", how=str(error),
                )  # fmt: skip
