"""What `kinema eval` plays episodes of: for each benchmark the options it heeds, and how they make it.

Refusals come from here, before a simulator is started.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.commands import policies
from kinema.commands.eval import latency
from kinema.commands.terminal import choose
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.bench.benchmark import Factory

_ALWAYS = (
    "tasks", "first", "workers", "retry_errors", "replan", "baseline",
    "device", "dtype", "quantise", "compile",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Told:
    """The options that say what is judged. Each benchmark heeds some; the others are refused before."""

    policy: str
    episodes: int
    first: int = 0
    bodies: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    variations: tuple[str, ...] = ("seen",)
    look: str = "shipped"
    protocol: str = "kinema"
    assets: str | None = None
    data: str | None = None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A benchmark as told, and what its policy is asked for.

    bodies: of which an artifact must know one
    player: what plays its episodes, made of the run's seed; None: the runner itself
    server: the class that asks somebody's server
    steady: as in `LocalPolicy`
    """

    benchmark: Factory
    bodies: tuple[str, ...]
    player: str | None = None
    server: str = policies.SERVER_TARGET
    steady: bool = False


@dataclass(frozen=True, kw_only=True)
class Played:
    """heeds: of the options that not every benchmark heeds; replan_steps: of a chunk, where none are told

    learners: the bodies whose policies are judged here while they are trained
    measured: of its episodes' measures, those whose means are told beside the rates, where there are some
    """

    heeds: tuple[str, ...]
    replan_steps: int
    judged: Callable[[Told], Judged]
    learners: Callable[[], tuple[str, ...]] = tuple
    measured: tuple[str, ...] = ()


def _tabletop(told: Told) -> Judged:
    from kinema.bench.tabletop import IMAGE_SIZE_PX

    wanted = told.bodies or policies.tabletop_bodies()
    bodies = told.bodies or policies.trained_bodies(told.policy, wanted)
    standing = policies.tabletop_bodies(bodies)
    if not standing:
        choices = ", ".join(policies.tabletop_bodies())
        raise KinemaError(f"none of {', '.join(bodies)} stands at the tabletop; choices: {choices}")
    return Judged(
        benchmark=_factory(
            "tabletop:TabletopBenchmark",
            bodies=standing,
            variations=told.variations,
            **({"families": _families(told.suites)} if told.suites else {}),
            **_larger(told, wanted, image_size=IMAGE_SIZE_PX),
        ),
        bodies=wanted,
    )


def _families(suites: tuple[str, ...]) -> list[str]:
    from kinema.worlds.tabletop.env import DYNAMIC, FAMILIES

    sets = {"static": FAMILIES, "dynamic": DYNAMIC}
    chosen = [choose("suite of the tabletop", suite, tuple(sets)) for suite in suites]
    return [family for suite in chosen for family in sets[suite]]


def _metaworld(told: Told) -> Judged:
    from kinema.bench.metaworld.benchmark import CARD
    from kinema.bench.metaworld.protocols import PROTOCOLS

    protocol = choose("protocol", told.protocol, tuple(PROTOCOLS))
    larger = _larger(told, (CARD,), size_px=PROTOCOLS[protocol].rendering.size_px)
    return Judged(
        benchmark=_factory("metaworld.benchmark:MetaworldBenchmark", protocol=protocol, **larger),
        bodies=(CARD,),
    )


def _libero(told: Told) -> Judged:
    from kinema.bench.drawing import LOOKS
    from kinema.bench.libero.benchmark import CARD, RENDERING
    from kinema.bench.libero.expert import SUITES as WITH_EXPERT
    from kinema.bench.libero.openpi import SIZE_PX
    from kinema.bench.libero.suites import CHOICES, STANDARD, START_STATES

    suites = told.suites or STANDARD
    for name in told.variations:
        choose("variation of LIBERO", name, CHOICES)
    if told.policy == "expert" and (without := [suite for suite in suites if suite not in WITH_EXPERT]):
        raise KinemaError(
            f"LIBERO's suites {', '.join(without)} have no expert yet; --suites {','.join(WITH_EXPERT)} has"
        )
    if told.first + told.episodes > START_STATES:
        raise KinemaError(
            f"LIBERO has {START_STATES} start states of a task; got --episodes {told.episodes}"
            f" from --first {told.first}"
        )
    size_px = SIZE_PX if policies.is_address(told.policy) else RENDERING.size_px
    arguments = {"size_px": size_px, **_larger(told, (CARD,), size_px=size_px)}
    benchmark = _factory(
        "libero.benchmark:LiberoBenchmark",
        suites=list(suites),
        look=choose("look", told.look, tuple(LOOKS)),
        variations=list(told.variations),
        **arguments,
    )
    return Judged(benchmark=benchmark, bodies=(CARD,), server="kinema.bench.libero.openpi:LiberoServer")


def _aloha(told: Told) -> Judged:
    """Somebody's server is shown the package's whole pictures."""
    from kinema.bench.aloha.benchmark import CARD, SUITES
    from kinema.bench.drawing import LOOKS

    benchmark = _factory(
        "aloha.benchmark:AlohaBenchmark",
        suites=[choose("suite of ALOHA", name, tuple(SUITES)) for name in told.suites or SUITES],
        whole=policies.is_address(told.policy),
        look=choose("look", told.look, tuple(LOOKS)),
    )
    return Judged(benchmark=benchmark, bodies=(CARD,))


def _simpler(told: Told) -> Judged:
    """Somebody's server is shown the package's own pictures."""
    from kinema.bench.simpler.benchmark import CARD, RENDERING

    benchmark = _factory(
        "simpler.benchmark:SimplerBenchmark",
        assets=told.assets,
        whole=policies.is_address(told.policy),
        **_larger(told, (CARD,), size_px=RENDERING.width_px),
    )
    return Judged(benchmark=benchmark, bodies=(CARD,), server="kinema.bench.simpler.openpi:SimplerServer")


def _robotwin(told: Told) -> Judged:
    from kinema.bench.robotwin.benchmark import CARD, SUITES

    if told.policy == "expert":
        raise KinemaError("RoboTwin's expert plays whole episodes, no steps; its scenes are those it solves")
    suites = [choose("suite of RoboTwin", name, SUITES) for name in told.suites or SUITES]
    return Judged(benchmark=_factory("robotwin.benchmark:RobotwinBenchmark", suites=suites), bodies=(CARD,))


def _gr1(told: Told) -> Judged:
    """Somebody's server is told joints [rad] in the order of GR00T's keys."""
    from kinema.bench.gr1.benchmark import CARD

    if told.policy == "expert":
        raise KinemaError("RoboCasa-GR1 has no expert; its demonstrations were steered by people")
    benchmark = _factory("gr1.benchmark:Gr1Benchmark")
    return Judged(benchmark=benchmark, bodies=(CARD,), server="kinema.bench.gr1.openpi:Gr1Server")


def _navigation(told: Told) -> Judged:
    from kinema.bench.navigation.benchmark import IMAGE_SIZE_PX
    from kinema.worlds.house.errands import ERRANDS

    bodies = tuple(choose("base", name, _bases()) for name in told.bodies) or _bases()
    benchmark = _factory(
        "navigation.benchmark:NavigationBenchmark",
        bodies=policies.trained_bodies(told.policy, bodies) or bodies,
        errands=[choose("errand", name, ERRANDS) for name in told.suites or ERRANDS],
        variations=list(told.variations),
        **({"houses": told.assets} if told.assets else {}),
        **({"episodes": str(_listed(told))} if told.data else {}),
        **_larger(told, bodies, image_size=IMAGE_SIZE_PX),
    )
    return Judged(benchmark=benchmark, bodies=bodies)


def _listed(told: Told) -> Path:
    """The file of episodes, which has as many as are asked for."""
    from kinema.bench.navigation.episodes import read_episodes

    path = Path(str(told.data))
    if told.assets or told.suites:
        raise KinemaError(f"{path} says houses and errands itself; leave out --assets and --suites")
    if told.first + told.episodes > (count := len(read_episodes(path))):
        raise KinemaError(
            f"{path} has {count} episodes; got --episodes {told.episodes} from --first {told.first}"
        )
    return path


def _bases() -> tuple[str, ...]:
    from kinema.bench.navigation.benchmark import bases

    return bases()


def _latency(told: Told) -> Judged:
    bodies = told.bodies or latency.BODIES
    return Judged(
        benchmark=latency.benchmark(bodies),
        bodies=bodies,
        player="kinema.bench.latency:LatencyPlayer",
        steady=True,
    )


def _larger(told: Told, bodies: tuple[str, ...], **usual_px: int) -> dict[str, int]:
    """The size of pictures, as the argument named here, where a policy looks twice at larger ones."""
    learnt_px = policies.second_look_px(told.policy, bodies)
    return {name: learnt_px for name, px in usual_px.items() if learnt_px > px}


def _factory(target: str, **arguments: object) -> Factory:
    from kinema.bench.benchmark import Factory

    return Factory(target=f"kinema.bench.{target}", arguments=arguments)


def _body_of(benchmark: str) -> Callable[[], tuple[str, ...]]:
    return lambda: (import_module(f"kinema.bench.{benchmark}.benchmark").CARD,)


def trained_for(bodies: Collection[str]) -> tuple[str, ...]:
    """The benchmarks that one of these bodies plays."""
    return tuple(name for name, played in PLAYED.items() if not set(bodies).isdisjoint(played.learners()))


PLAYED = {
    "tabletop": Played(
        heeds=(*_ALWAYS, "ray", "variation", "robots", "suites", "world", "imagines"),
        replan_steps=4,  # at 10 Hz contact wants 0.4 s
        judged=_tabletop,
        learners=policies.tabletop_bodies,
        measured=("manipulation_score", "route_completion"),
    ),
    "metaworld": Played(
        heeds=(*_ALWAYS, "ray", "protocol"),
        replan_steps=8,  # 0.1 s at 80 Hz
        judged=_metaworld,
        learners=_body_of("metaworld"),
    ),
    "libero": Played(
        heeds=(*_ALWAYS, "ray", "suites", "variation", "look"),
        replan_steps=5,  # as openpi does
        judged=_libero,
        learners=_body_of("libero"),
    ),
    "aloha": Played(
        heeds=(*_ALWAYS, "ray", "suites", "look"),
        replan_steps=8,  # 0.16 s at 50 Hz
        judged=_aloha,
        learners=_body_of("aloha"),
    ),
    "simpler": Played(
        heeds=(*_ALWAYS, "assets"),
        replan_steps=4,  # as SimplerEnv's openpi client does
        judged=_simpler,
        learners=_body_of("simpler"),
    ),
    "robotwin": Played(
        heeds=(*_ALWAYS, "ray", "suites"),
        replan_steps=8,  # 0.5 s
        judged=_robotwin,
        learners=_body_of("robotwin"),
    ),
    "gr1": Played(
        heeds=(*_ALWAYS, "ray"),
        replan_steps=8,  # as GR00T's rollout_policy.py does
        judged=_gr1,
        learners=_body_of("gr1"),
    ),
    "navigation": Played(
        heeds=(*_ALWAYS, "ray", "suites", "variation", "robots", "assets", "data"),
        replan_steps=2,  # 1 s at 2 Hz
        judged=_navigation,
        learners=_bases,
        measured=("ne_m", "osr", "sr", "spl", "ndtw", "sdtw", "kept_up"),
    ),
    "latency": Played(heeds=(*_ALWAYS, "ray", "robots"), replan_steps=4, judged=_latency),
}
