import os
from importlib.metadata import version

import pytest

os.environ.setdefault("MUJOCO_GL", "egl")
pytest.importorskip("mujoco")

from kinema.bench.benchmark import Factory
from kinema.bench.run import RunSettings, run
from kinema.bench.tabletop import TabletopBenchmark
from kinema.card.load import CardError
from kinema.schema import KinemaError

ONE = {"bodies": ["panda"], "families": ["pick_place"]}


def play(policy, out, episodes):
    settings = RunSettings(
        benchmark=Factory(target="kinema.bench.tabletop:TabletopBenchmark", arguments=ONE),
        policy=Factory(target=policy),
        episodes=episodes,
    )
    return run(settings, out, quiet=True)


def test_tasks_are_bodies_times_families_times_variations():
    specs = TabletopBenchmark(variations=("seen", "color")).tasks()
    names = [spec.name for spec in specs]
    assert len(set(names)) == len(names)
    assert "panda/pick_place/color" in names
    assert not any("metaworld" in name for name in names)
    spec = specs[names.index("panda/pick_place/color")]
    assert spec.groups == {"body": "panda", "family": "pick_place", "variation": "color"}
    assert [s.name for s in TabletopBenchmark(**ONE).tasks()] == ["panda/pick_place"]


def test_the_expert_succeeds_where_doing_nothing_fails(tmp_path):
    expert = play("kinema.bench.expert:ExpertPolicy", tmp_path / "expert", 2)
    hold = play("kinema.runtime.policy:HoldPolicy", tmp_path / "hold", 1)
    assert expert.overall["successes"] == 2
    assert hold.overall["failures"] == 1


def test_unknown_names_are_refused():
    with pytest.raises(CardError, match="panda"):
        TabletopBenchmark(bodies=["pandda"])
    with pytest.raises(KinemaError, match=r"no tabletop task.*pick_place"):
        TabletopBenchmark(bodies=["panda"], families=["pick_plaice"])
    with pytest.raises(KinemaError, match="unknown variation"):
        TabletopBenchmark(variations=("colour",))


def test_a_wide_result_says_what_its_things_were_drawn_by() -> None:
    told = [TabletopBenchmark(("panda",), ("push",), (name,)).provenance() for name in ("wide", "seen")]
    assert told[0]["rendering"]["meshes"] == f"metaworld {version('metaworld')}"
    assert "meshes" not in told[1]["rendering"]
