"""Which policy a word means, and which bodies it is asked to move."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kinema import cli
from kinema.commands import policies
from kinema.commands.eval.played import PLAYED, Told
from kinema.schema import KinemaError
from refusals import one_line


def _artifact(folder: Path, *bodies: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "stats.json").write_text(json.dumps({body: {} for body in bodies}))
    return folder


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two shipped artifacts: one for the tabletop, one for Meta-World."""
    _artifact(tmp_path / "artifacts" / "arm", "sawyer_metaworld")
    _artifact(tmp_path / "artifacts" / "table", "panda", "ur5e")
    monkeypatch.setattr(policies, "ARTIFACTS", tmp_path / "artifacts")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shipped_means_the_one_that_knows_the_body(shipped: Path) -> None:
    assert policies.artifact_folder("shipped", ["panda"]).name == "table"
    assert policies.artifact_folder("shipped", ["sawyer_metaworld"]).name == "arm"
    assert policies.artifact_folder("shipped").name == "arm"
    with pytest.raises(KinemaError, match="no policy for widowx is shipped"):
        policies.artifact_folder("shipped", ["widowx"])


def test_names_folders_and_code(shipped: Path, tmp_path: Path) -> None:
    own = _artifact(tmp_path / "own", "panda")
    assert policies.policy_factory("table").arguments == {"folder": "artifacts/table"}
    assert policies.policy_factory(str(own)).arguments["folder"].endswith("own")
    assert policies.policy_factory("expert").target.endswith(":ExpertPolicy")
    assert policies.policy_factory("my_robot.brain:Policy").target == "my_robot.brain:Policy"
    with pytest.raises(KinemaError, match="choices: arm, table, expert, hold"):
        policies.policy_factory("tabel")


def test_a_result_does_not_name_this_machine(shipped: Path) -> None:
    assert not policies.policy_factory("shipped").arguments["folder"].startswith("/")


def _judged(benchmark: str, **told: Any) -> Mapping[str, Any]:
    return PLAYED[benchmark].judged(Told(episodes=1, **told)).benchmark.arguments


def test_a_policy_that_looks_twice_is_judged_on_pictures_as_large_as_it_learned_from(shipped: Path) -> None:
    config = shipped / "artifacts" / "arm" / "config.json"
    larger = ({"size_px": 256}, {"image_size": 256})
    for size, (metaworld, tabletop) in ((None, ({}, {})), (64, ({}, {})), (256, larger)):
        look = {"second_look": {"source_size": size}} if size else {}
        config.write_text(json.dumps({"policy": look}))
        assert policies.second_look_px("arm") == (size or 0)
        assert _judged("metaworld", policy="shipped") == {"protocol": "kinema", **metaworld}
        assert _judged("metaworld", policy="arm", protocol="lerobot") == {"protocol": "lerobot"}  # 480 px
        said = _judged("tabletop", policy="arm", bodies=("panda",))
        assert said == {"bodies": ("panda",), "variations": ("seen",), **tabletop}
    for name in ("table", "expert", "ws://there:8000"):
        assert policies.second_look_px(name) == 0


def test_an_artifact_is_limited_to_its_bodies_and_code_is_not(shipped: Path) -> None:
    assert policies.trained_bodies("table") == ("panda", "ur5e")
    assert policies.trained_bodies("expert") == ()
    assert "sawyer_metaworld" not in policies.tabletop_bodies()


def test_half_an_artifact_is_named(tmp_path: Path) -> None:
    with pytest.raises(KinemaError, match="not a whole artifact"):
        policies.bodies_of(tmp_path)


def test_a_policy_without_tabletop_bodies_is_not_judged_there(
    shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.exit_code(["eval", "tabletop", "--policy", "arm"]) == 2
    assert "none of sawyer_metaworld stands at the tabletop" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tabeltop"], "did you mean tabletop"),
        (["tabletop", "--robots", "pnda"], "did you mean 'panda'"),
        (["tabletop", "--variation", "colour"], "color"),
        (["tabletop", "--tasks", "panda/stak", "--robots", "panda"], "panda/stack"),
        (["metaworld", "--tasks", "rech-v3"], "reach-v3"),
        (["metaworld", "--variation", "color"], "--variation says nothing to metaworld"),
        (["tabletop", "--policy", "nothing.here:Policy", "--episodes", "1"], "cannot"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_of_eval_is_one_line(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--policy" not in arguments:
        arguments = [*arguments, "--policy", "hold"]
    assert says in one_line(["eval", *arguments], capsys)
