"""What `kinema robots check` adds to the card's own checks: build the body, try its codec, name its slots."""

from __future__ import annotations

import numpy as np

from kinema.card.card import Channel, EmbodimentCard
from kinema.space.layout import NUM_SLOTS

_TOLERANCE = 1e-5  # the unified action is float32
_DRAWS = 200


def compile_body(card: EmbodimentCard) -> str:
    """Compile the card's links, joints and geoms with MuJoCo. Returns what came out; raises ValueError."""
    from kinema.worlds.robots import add_robot, new_spec

    spec = new_spec()
    add_robot(spec, card)
    model = spec.compile()
    return (
        f"{model.nbody - 1} links, {model.njnt} joints, {model.nu} actuators, {model.body_mass.sum():.2f} kg"
    )


def round_trip(card: EmbodimentCard, seed: int = 0) -> str:
    """Encode and decode random chunks inside the card's limits. Raises ValueError naming the wrong ones."""
    from kinema.space.codec import Codec
    from kinema.space.stats import ChannelStats

    rng = np.random.default_rng(seed)
    actions = ChannelStats(
        names=tuple(c.name for c in card.actions),
        q01=np.array([-_width(c) if c.reference == "first_frame" else c.range[0] for c in card.actions]),
        q99=np.array([_width(c) if c.reference == "first_frame" else c.range[1] for c in card.actions]),
    )
    states = ChannelStats(
        names=tuple(c.name for c in card.states),
        q01=np.array([c.range[0] for c in card.states]),
        q99=np.array([c.range[1] for c in card.states]),
    )
    codec = Codec(card, actions, states)
    worst = np.zeros(len(card.actions))
    for _ in range(_DRAWS):
        state = _draw(rng, card.states, 1)[0]
        chunk = _draw(rng, card.actions, card.chunk)
        back = codec.decode(codec.encode(chunk, state), state)
        worst = np.maximum(worst, np.abs(back - chunk).max(axis=0))
    wrong = [c.name for c, error in zip(card.actions, worst) if error > _TOLERANCE * max(1.0, _width(c))]
    if wrong:
        raise ValueError(f"card {card.name!r}: actions {wrong} do not survive encode and decode")
    return f"{_DRAWS} random chunks there and back, worst error {worst.max():.1e}"


def fill_slots(card: EmbodimentCard) -> str:
    """Which slots of the unified space this body's actions fill."""
    return f"{len(card.actions)} of {NUM_SLOTS}: {', '.join(channel.slot for channel in card.actions)}"


def _width(channel: Channel) -> float:
    return channel.range[1] - channel.range[0]


def _draw(rng: np.random.Generator, channels: tuple[Channel, ...], steps: int) -> np.ndarray:
    """Values (steps, C) inside the ranges; rotation vectors stay under a radian, where they are unique."""
    low = np.array([max(c.range[0], -0.5) if ".rot." in c.slot else c.range[0] for c in channels])
    high = np.array([min(c.range[1], 0.5) if ".rot." in c.slot else c.range[1] for c in channels])
    return rng.uniform(low, high, (steps, len(channels)))
