"""Recorded episodes as short films in memory: pictures at equal intervals, and what was done in between.

Axes: B films, F pictures, V views, S image side, N control steps between two pictures, K slots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kinema.card.card import EmbodimentCard
from kinema.data.batch import Tensors
from kinema.data.fits import fit
from kinema.data.frames import Way, images_of
from kinema.data.lerobot import Dataset
from kinema.schema import Film, KinemaError
from kinema.space.codec import ChunkFrame, Codec
from kinema.space.stats import ChannelStats

_HELD_OUT_EVERY = 20  # episodes whose number ends so are never learnt from


Beginning = tuple[Film, np.ndarray, np.ndarray]  # its states (F, channels) and actions ((F - 1) * N, D)


@dataclass(frozen=True, kw_only=True)
class Footage:
    """Pictures at equal intervals of one body's episodes, with what happened in between. M pictures.

    pictures: uint8 (M, V, S, S, 3); state: float32 (M, channels); actions: float32 (M, N, D) that follow
    last: int64 (M,), the last picture of the same episode
    """

    card: EmbodimentCard
    pictures: np.ndarray
    state: np.ndarray
    actions: np.ndarray
    last: np.ndarray

    def __len__(self) -> int:
        return len(self.state)

    def beginnings(self, pictures: int, most: int, rng: np.random.Generator) -> Iterator[Beginning]:
        """Of at most so many episodes, the first so many pictures."""
        firsts = np.flatnonzero(np.diff(self.last, prepend=-1))
        for start in rng.permutation(firsts)[:most]:
            rows = np.arange(start, min(start + pictures, self.last[start] + 1))
            rows = np.append(rows, rows[-1]) if len(rows) == 1 else rows
            film = Film(
                frames=self.pictures[rows],
                cameras=self.card.camera_names[: self.pictures.shape[1]],
                fps=self.card.control_hz / self.actions.shape[1],
                card=self.card.name,
                instruction="",
            )
            done = self.actions[rows[:-1]].reshape(-1, self.actions.shape[2])
            yield film, self.state[rows], done


def footage(
    dataset: Dataset, card: EmbodimentCard, *, steps: int, views: int, image_size: int, held_out: bool,
    episodes: int, seed: int, pictures: Way = "cache",
) -> Footage:  # fmt: skip
    """Every picture after so many control steps of at most so many episodes, from a random first one in each.

    views: most cameras
    """
    fitting = fit(dataset, card)
    if fitting.ratio != 1:
        raise KinemaError(
            f"{dataset.root} has {dataset.fps:g} frames/s; films of {card.name} need its own rate"
        )
    rng = np.random.default_rng(seed)
    numbers = np.arange(dataset.num_episodes)
    of_test = numbers % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1
    numbers = rng.permutation(numbers[of_test == held_out])[:episodes]
    chosen = []
    last: list[int] = []
    for first, end in dataset.episode_bounds[np.sort(numbers)]:
        rows = np.arange(first + int(rng.integers(min(steps, end - first))), end, steps)
        last += [len(last) + len(rows) - 1] * len(rows)
        chosen.append(rows)
    rows = np.concatenate(chosen)
    final = dataset.episode_bounds[dataset.episode_index[rows], 1] - 1
    until_next = np.minimum(rows[:, None] + np.arange(steps), final[:, None])
    sent = fitting.executed if fitting.executed is not None else fitting.action
    cameras = fitting.cameras[:views]
    images = images_of(dataset, pictures, size=image_size, cameras=cameras, ahead=rows)
    return Footage(
        card=card,
        pictures=images(rows),
        state=fitting.state[rows],
        actions=sent[until_next],
        last=np.array(last),
    )


def codec_of(group: Sequence[Footage]) -> Codec:
    """One body's codec, with statistics of its actions relative to the picture before them."""
    card = group[0].card
    frame = ChunkFrame(card)
    relative = [frame.enter(f.actions, f.state).reshape(-1, len(card.actions)) for f in group]
    return Codec(
        card,
        ChannelStats.of_channels(card.actions, np.concatenate(relative)),
        ChannelStats.of_channels(card.states, np.concatenate([f.state for f in group])),
    )


@dataclass(frozen=True, kw_only=True)
class FilmBatch(Tensors):
    """frames uint8 (B, F, V, 3, S, S), body (B, size), state (B, F, K), actions (B, F - 1, N, K)."""

    frames: Tensor
    body: Tensor
    state: Tensor
    actions: Tensor
    state_mask: Tensor
    action_mask: Tensor

    def __len__(self) -> int:
        return len(self.frames)


def films(
    source: Footage, codec: Codec, body: np.ndarray, starts: np.ndarray, pictures: int, *, views: int
) -> FilmBatch:
    """Films of so many pictures from each start; past the end of an episode the last picture is held.

    body: (size,), what is told of it; views: cameras of a batch, of which the body may have fewer
    """
    wanted = starts[:, None] + np.arange(pictures)
    rows = np.minimum(wanted, source.last[starts][:, None])
    state = source.state[rows]
    before = rows[:, :-1]
    actions = np.where(
        (wanted[:, 1:] > source.last[starts][:, None])[..., None, None],
        source.actions[before][:, :, -1:],  # nothing happens any more: the last target stays
        source.actions[before],
    )
    V = source.pictures.shape[1]
    frames = np.zeros((len(starts), pictures, views, *source.pictures.shape[2:]), np.uint8)
    frames[:, :, :V] = source.pictures[rows]
    return FilmBatch(
        frames=torch.from_numpy(np.ascontiguousarray(np.moveaxis(frames, -1, 3))),
        body=torch.from_numpy(np.tile(body, (len(starts), 1))),
        state=torch.from_numpy(codec.encode_state(state)),
        actions=torch.from_numpy(codec.encode(actions, state[:, :-1].astype(np.float64))),
        state_mask=torch.from_numpy(np.tile(codec.state_mask, (len(starts), 1))),
        action_mask=torch.from_numpy(np.tile(codec.mask, (len(starts), 1))),
    )
