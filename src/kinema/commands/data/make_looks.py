"""`kinema data make looks`: labelled pictures for the film detector, in shards that a stopped run resumes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kinema.card.load import load_card
from kinema.data.looks import LabelledViews, write_views

BODIES = ("panda", "ur5e", "aloha")
# One range of seeds per purpose; what is judged uses seeds below a million, as everywhere.
FIRST_SEEDS = {"train": 4_000_000, "test": 600_000}
EPISODES_PER_SHARD = 10  # of one family


def make_looks(out: Path, *, part: str, episodes: int, bodies: tuple[str, ...] = BODIES) -> int:
    """Fill `out/part/<body>` with `episodes` of every family; returns how many pictures are new."""
    from kinema.worlds.tabletop.env import families_for

    jobs = [
        (body, family, number)
        for number in range(-(-episodes // EPISODES_PER_SHARD))
        for body in bodies
        for family in families_for(body)
    ]
    made = 0
    for body, family, number in tqdm(jobs, unit="shard"):
        path = out / part / body / f"{family}_{number:04d}.npz"
        if not path.exists():
            first = FIRST_SEEDS[part] + number * EPISODES_PER_SHARD
            views = _play(body, family, range(first, first + EPISODES_PER_SHARD))
            write_views(path, views)
            made += len(views.images)
    return made


def _play(body: str, family: str, seeds: range) -> LabelledViews:
    from kinema.worlds.tabletop.env import TabletopEnv
    from kinema.worlds.tabletop.film_labels import THINGS, Looker, looks

    env = TabletopEnv(card=load_card(body), family=family)
    with closing(env), closing(Looker(env)) as looker:
        found = [look for seed in seeds for look in looks(env, looker, seed)]
    views = len(found[0].images)
    return LabelledViews(
        things=THINGS,
        images=np.concatenate([look.images for look in found]),
        points=np.concatenate([look.points for look in found]),
        view=np.tile(np.arange(views), len(found)),
        seed=np.repeat([look.seed for look in found], views),
    )
