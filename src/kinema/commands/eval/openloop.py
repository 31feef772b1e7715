"""`kinema eval openloop`: what a policy would do on recorded episodes that it did not learn from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kinema.bench.openloop import HOLD, MEAN, POLICY, Chunks, OpenLoop
from kinema.bench.seeds import seed_of
from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.commands import policies
from kinema.commands.eval.judged import Sitting
from kinema.commands.terminal import table, writable
from kinema.data.fits import card_of, open_index
from kinema.data.index import Index
from kinema.data.remote import local
from kinema.data.set_map import set_map_of
from kinema.data.source import Source, from_dataset
from kinema.model.policy.act import LocalPolicy
from kinema.runtime.policy import hold_action
from kinema.schema import KinemaError, Observation, Question, noise_seed

_BATCH = 16  # questions that are answered together


def judge_openloop(policy: str, data: str | None, *, bodies: Sequence[str], sitting: Sitting) -> None:
    """Print the errors on the first episodes that were held out, and write `openloop.json`.

    Raises KinemaError where the policy has learnt from all episodes of the set, or from another state of it.
    """
    if data is None:
        raise KinemaError("openloop needs recorded episodes: --data SET")
    folder, root = policies.artifact_folder(policy, bodies), local(data)
    index = open_index(root)
    judged = LocalPolicy(folder)
    learnt = learnt_from(judged.artifact.provenance.get("data", ()), index)
    card = _card(index, learnt, bodies)
    unseen = np.array(learnt["held_out"]) if learnt else np.arange(index.num_episodes)
    if not len(unseen):
        raise KinemaError(f"{folder} has learnt from every episode of {data}; train it with --hold-out")
    episodes, out = unseen[: sitting.episodes], writable(sitting.out)
    told = set_map_of(root).model_copy(update={"card": card.name})
    size = judged.artifact.policy.config.source_size
    source = from_dataset(index, card, image_size=size, told=told, pictures="decode")
    seed = seed_of(sitting.seed, [policies.policy_factory(policy, bodies)])
    others = np.setdiff1d(np.arange(index.num_episodes), unseen)
    found = _open_loop(judged, source, episodes, others if len(others) else unseen, seed.value)
    out.mkdir(parents=True, exist_ok=True)
    about = {"policy": judged.provenance, "data": index.root.name, "seed": seed.value, "seed_rule": seed.rule}
    (out / "openloop.json").write_text(json.dumps({**about, **found.to_json()}, indent=2))
    print(_shown(found))
    print(
        f"episodes {', '.join(map(str, episodes))} of {data}, {'held out' if learnt else 'none learnt from'}"
    )
    print(f"results: {out / 'openloop.json'}")


def learnt_from(sources: Sequence[Mapping[str, Any]], index: Index) -> Mapping[str, Any] | None:
    """What the artifact says of this set; None where it has not learnt from it."""
    for source in sources:
        if source["steps"] == index.num_frames:  # whatever the folder is called by now
            return {"held_out": (), **source}
        if source["source"] == index.root.name:
            raise KinemaError(
                f"the policy has learnt from {index.root.name!r} with {source['steps']} frames; {index.root} "
                f"has {index.num_frames}, so which of its episodes were held out cannot be told"
            )
    return None


def _card(index: Index, learnt: Mapping[str, Any] | None, bodies: Sequence[str]) -> EmbodimentCard:
    if len(bodies) > 1:
        raise KinemaError(f"a set is of one body; got --robots {','.join(bodies)}")
    if bodies:
        return load_card(bodies[0])
    return load_card(learnt["card"]) if learnt else card_of(index)


def _open_loop(
    policy: LocalPolicy, source: Source, episodes: np.ndarray, others: np.ndarray, seed: int
) -> OpenLoop:
    """others: whose mean action is compared with, of all channels."""
    card = policy.artifact.codec(source.card.name).card
    begin = np.append(0, source.ends)
    starts = [
        np.arange(begin[e], source.ends[e] - source.ratio + 1e-6, card.chunk * source.ratio) for e in episodes
    ]
    at = np.concatenate(starts).astype(np.int64)
    episode = np.repeat(episodes, [len(steps) for steps in starts])
    answered = np.concatenate(
        [_answers(policy, source, at[i : i + _BATCH], i, seed) for i in range(0, len(at), _BATCH)]
    )
    actions, real = source.windows(at, answered.shape[1])
    chunks = Chunks(actions=actions.astype(np.float64), real=real, episode=episode)
    rows = np.concatenate([np.arange(begin[e], source.ends[e]) for e in others])
    mean = source.action[rows].astype(np.float64).mean(0)
    held = np.stack([hold_action(card, state) for state in source.state[at]])
    return OpenLoop(
        channels=[channel.name for channel in card.actions],
        units=[channel.unit for channel in card.actions],
        episodes=episodes.tolist(),
        errors={
            POLICY: chunks.errors(answered),
            HOLD: chunks.errors(held[:, None]),
            MEAN: chunks.errors(mean[None, None]),
        },
    )


def _answers(policy: LocalPolicy, source: Source, steps: np.ndarray, first: int, seed: int) -> np.ndarray:
    """Native actions (n, T, D) from these steps (n,); `first`: the number of the first question."""
    pictures, states = source.images(steps), source.state[steps]
    tasks = [source.tasks[i] for i in source.task_index[steps]]
    questions = [
        Question(
            observation=Observation(
                images=dict(zip(source.card.camera_names, pictures[i])), state=states[i], instruction=task,
                time_s=0.0,
            ),
            card=source.card.name,
            noise_seed=noise_seed(seed, first + i),
        )
        for i, task in enumerate(tasks)
    ]  # fmt: skip
    return np.stack([chunk.values for chunk in policy.answer(questions)])


def _shown(found: OpenLoop) -> str:
    told = found.to_json()
    rows = [
        (unit, *(f"{e['mean']:.4f} ({e['ci95'][0]:.4f} to {e['ci95'][1]:.4f})" for e in errors.values()))
        for unit, errors in told["by_unit"].items()
    ]
    names = tuple(found.errors)
    lines = [table(rows, ("mean error of", *(f"{name} (95 % interval)" for name in names))), ""]
    each = [
        (channel, errors["unit"], *(f"{errors[name]:.4f}" for name in names))
        for channel, errors in told["by_channel"].items()
    ]
    lines.append(table(each, ("channel", "unit", *names)))
    for other in names[1:]:
        wins = [int((errors[POLICY] < errors[other]).sum()) for errors in found.by_unit().values()]
        said = " and ".join(f"{count} in {unit}" for count, unit in zip(wins, found.by_unit()))
        lines.append(f"nearer than {other}: of {len(found.episodes)} episodes {said}")
    return "\n".join(lines)
