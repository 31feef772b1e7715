"""`kinema eval tabletop --world imagined`: policies judged inside a world model, and whether that ranks them.

One policy gets its skill. Five and more are also tried in the true world, in the same scenes, and the two
orders are compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kinema.bench.identity import made_by
from kinema.bench.provenance import source_commit
from kinema.bench.results import Results
from kinema.bench.seeds import Seed, seed_of
from kinema.bench.world.imagined import Agreement, ImaginedScene
from kinema.bench.world.ranking import FEWEST, Ranked, Ranking, rank
from kinema.commands import policies
from kinema.commands.eval.judged import Sitting, finish, tell_errors
from kinema.commands.imagine.dream import ORACLE
from kinema.commands.terminal import table, writable
from kinema.digest import file_digests
from kinema.schema import KinemaError
from kinema.versions import package_versions


@dataclass(frozen=True, kw_only=True)
class RankSettings:
    """imagines, reader: as `world` and `reader` of `kinema dream`. sitting.episodes: scenes of each task."""

    policies: tuple[str, ...]
    imagines: str
    reader: str
    bodies: tuple[str, ...]
    tasks: tuple[str, ...]
    replan: int
    sitting: Sitting

    def seed(self, bodies: Sequence[str]) -> Seed:
        """One for all that are compared on these bodies."""
        judged = [policies.policy_factory(name, bodies) for name in self.policies]
        if self.imagines != ORACLE:
            from kinema.commands.eval.eval_world import imagines_factory

            judged.append(imagines_factory(self.imagines))
        return seed_of(self.sitting.seed, judged)


def judge_imagined(settings: RankSettings) -> None:
    """Judge every policy, print a table, and write `ranking.json` and `ranking.html` where there are five."""
    out, bodies = writable(settings.sitting.out), settings.bodies or _common_bodies(settings.policies)
    scenes = imagined_scenes(settings, bodies)
    agreements = {name: _agreements(name, scenes, bodies, out) for name in settings.policies}
    if len(settings.policies) < FEWEST:
        print(_table(agreements))
        print(f"with {FEWEST} policies or more, their order is compared with the true one")
        _finish(out, agreements)
        return
    truth = {name: _true_success(name, settings, bodies) for name in settings.policies}
    drawn = settings.seed(bodies)
    ranking = rank(
        [_ranked(name, agreements[name], truth[name]) for name in settings.policies],
        scenes=len(scenes),
        provenance={
            "imagines": settings.imagines, "reader": settings.reader, "seed": drawn.value,
            "seed_rule": drawn.rule, "weights": _weights(settings, bodies), "tasks": list(settings.tasks),
            "bodies": list(bodies), "episodes": settings.sitting.episodes,
            "errors": {name: found.overall["errors"] for name, found in truth.items()},
            "imagined_errors": {name: len(_crashed(found)) for name, found in agreements.items()},
            "replan_steps": settings.replan, "commit": source_commit(), "versions": package_versions(),
        },
    )  # fmt: skip
    ranking.save(out)
    print(ranking_table(ranking))
    print(f"ranking: {out / 'ranking.json'}")
    print(f"report:  {out / 'ranking.html'}")
    _finish(out, agreements, *truth.values())


def _finish(out: Path, agreements: Mapping[str, list[Agreement]], *truth: Results) -> None:
    """Exits with 1 when a scene or an episode was an error."""
    crashed = [(name, one) for name, found in agreements.items() for one in _crashed(found)]
    if not crashed:
        finish(out, *truth)
        return
    name, first = crashed[0]
    tell_errors(
        out, len(crashed) + sum(one.overall["errors"] for one in truth),
        f"{name} in the imagined {first.task}, scene {first.seed}: {first.cause}",
    )  # fmt: skip


def _crashed(agreements: Sequence[Agreement]) -> list[Agreement]:
    return [one for one in agreements if one.cause]


def imagined_scenes(settings: RankSettings, bodies: Sequence[str]) -> list[ImaginedScene]:
    """The films of the scenes that the true evaluation of the same seed plays."""
    from tqdm import tqdm

    from kinema.bench.episode import episode_seed
    from kinema.bench.tabletop import TabletopBenchmark
    from kinema.bench.world.imagined import imagine_scene
    from kinema.commands.imagine.dream import film_reader, imagination

    reader, benchmark = film_reader(settings.reader), TabletopBenchmark(bodies=bodies)
    specs = [spec for spec in benchmark.tasks() if not settings.tasks or spec.name in settings.tasks]
    if not specs:
        raise KinemaError(f"no task of {', '.join(settings.tasks)} belongs to the bodies {', '.join(bodies)}")
    scenes, drawn, episodes = [], settings.seed(bodies), settings.sitting.episodes
    with tqdm(total=len(specs) * episodes, unit="film", desc="imagining") as bar:
        for spec in specs:
            env = benchmark.make(spec.name)
            imagines = imagination(settings.imagines, env._environment)
            for index in range(episodes):
                seed = episode_seed(drawn.value, spec.name, index)
                env.reset(seed)
                scenes.append(
                    imagine_scene(imagines, reader, env.observe(), spec.card, task=spec.name, seed=seed)
                )
                bar.update()
            env.close()
    return scenes


def _common_bodies(names: Sequence[str]) -> tuple[str, ...]:
    """The tabletop bodies that all of the policies know."""
    standing = policies.tabletop_bodies()
    common = set(standing)
    for name in names:
        common &= set(policies.trained_bodies(name, standing) or standing)
    if not common:
        raise KinemaError(f"no body of the tabletop is known to all of {', '.join(names)}")
    return tuple(body for body in standing if body in common)


def _agreements(
    name: str, scenes: Sequence[ImaginedScene], bodies: Sequence[str], out: Path
) -> list[Agreement]:
    from tqdm import tqdm

    from kinema.bench.world.imagined import try_scene
    from kinema.card.load import load_card

    policy = policies.policy_factory(name, bodies).build()
    cards, played, found = {body: load_card(body) for body in bodies}, Counter[str](), []
    for scene in tqdm(scenes, desc=name, unit="scene"):
        errors_dir = out / "errors" / _folder_name(name)
        found.append(try_scene(policy, scene, cards[scene.film.card], played[scene.task], errors_dir))
        played[scene.task] += 1
    return found


def _folder_name(policy: str) -> str:
    return policy.strip("/").replace("/", "_")


def _true_success(name: str, settings: RankSettings, bodies: Sequence[str]) -> Results:
    """What the ordinary benchmark says of a policy; a finished run is read again."""
    from kinema.bench.benchmark import Factory
    from kinema.bench.settings import RunSettings
    from kinema.commands.eval.judged import play

    # as `kinema eval tabletop` has it
    arguments = {"bodies": tuple(bodies), "variations": ("seen",)}
    drawn, sitting = settings.seed(bodies), settings.sitting
    return play(
        RunSettings(
            benchmark=Factory(target="kinema.bench.tabletop:TabletopBenchmark", arguments=arguments),
            policy=policies.policy_factory(name, bodies),
            episodes=sitting.episodes,
            seed=drawn.value,
            seed_rule=drawn.rule,
            replan_steps=settings.replan,
            tasks=settings.tasks,
        ),
        replace(sitting, out=sitting.out / "true" / _folder_name(name)),
    )


def _weights(settings: RankSettings, bodies: Sequence[str]) -> dict[str, Any]:
    """Digests of everything that made the ranking."""
    from kinema.commands.imagine.dream import reader_folder

    made = {name: made_by(policy=policies.policy_factory(name, bodies)) for name in settings.policies}
    if settings.imagines != ORACLE:
        from kinema.commands.eval.eval_world import imagines_factory

        made["imagines"] = made_by(imagines=imagines_factory(settings.imagines))
    return {**made, "reader": {"reader": file_digests(reader_folder(settings.reader))}}


def _ranked(name: str, agreements: list[Agreement], truth: Results) -> Ranked:
    from kinema.bench.world.imagined import by_task, skill, skill_interval

    imagined = by_task(agreements)
    count = truth.overall
    if count["published_rate"] is None:
        raise KinemaError(
            f"no episode of {name} was scored in the true world, so it has no place in an order"
        )
    low, high = count["published_ci95"]
    return Ranked(
        policy=_shown(name),
        skill=round(skill(agreements), 4),
        skill_ci95=tuple(round(v, 4) for v in skill_interval(agreements)),  # type: ignore[arg-type]
        success=count["published_rate"],
        success_ci95=(low, high),
        episodes=count["episodes"],
        tasks={
            task: (round(value, 4), truth.tasks[task]["published_rate"]) for task, value in imagined.items()
        },
    )


def _shown(name: str) -> str:
    """A short name: `runs/study_base/artifact` is `study_base`."""
    parts = [part for part in Path(name).parts if part != "artifact"]
    return parts[-1] if parts else name


def _table(agreements: Mapping[str, list[Agreement]]) -> str:
    from kinema.bench.world.imagined import skill, skill_interval

    rows = []
    for name, found in agreements.items():
        low, high = skill_interval(found)
        counts = str(len(found)), str(len(_crashed(found)))
        rows.append((_shown(name), f"{skill(found):.3f}", f"{low:.3f} to {high:.3f}", *counts))
    return table(rows, ("policy", "imagined skill", "95 % interval", "scenes", "errors"))


def ranking_table(ranking: Ranking) -> str:
    rows = [
        (
            one.policy,
            f"{one.skill:.3f}",
            f"{one.skill_ci95[0]:.3f} to {one.skill_ci95[1]:.3f}",
            f"{one.success:.1%}",
            f"{one.success_ci95[0]:.1%} to {one.success_ci95[1]:.1%}",
        )
        for one in ranking.policies
    ]
    lines = [table(rows, ("policy", "imagined skill", "95 % interval", "true success", "95 % interval"))]
    lines.append(
        f"Spearman {ranking.spearman:.2f}, Pearson {ranking.pearson:.2f}; by chance {ranking.chance:.3f}"
    )
    return "\n".join(lines)
