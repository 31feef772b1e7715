"""Recipes find their data where the commands put it, and say what to run when it is not there."""

import json

import numpy as np
import pytest

from kinema import recipes
from kinema.card.load import load_card
from kinema.commands.data.annotate import annotate
from kinema.data.lerobot_write import Writer
from kinema.recipes.perception import nano_inverse
from kinema.recipes.sources import made_sources, metaworld_sources
from kinema.schema import KinemaError
from kinema.train.stage import Setting


def _record(root, card, size=32, steps=6):
    rng = np.random.default_rng(0)
    middle = [np.mean([c.range for c in channels], 1) for channels in (card.states, card.actions)]
    state, action = (np.tile(m, (steps, 1)).astype(np.float32) for m in middle)
    with Writer(root, card=card, image_size=size) as writer:
        for task in ("press the red button", "press the blue button"):
            writer.add_episode(
                images={n: rng.integers(0, 256, (steps, size, size, 3), np.uint8) for n in card.camera_names},
                state=state,
                action=action,
                executed=action,
                points=np.full((steps, len(card.cameras), 2, 3), 0.5, np.float32),
                success=np.arange(steps) == steps - 1,
                task=task,
            )


def test_every_round_of_tabletop_data_is_found(tmp_path):
    for folder, name in (("tabletop", "panda"), ("tabletop", "ur5e"), ("tabletop_corrections", "panda")):
        _record(tmp_path / folder / name, load_card(name))
    sources = made_sources(tmp_path, image_size=32)
    assert [s.card.name for s in sources] == ["panda", "ur5e", "panda"]
    for source in sources:
        assert source.images(source.starts[np.arange(3)]).shape == (3, 2, 32, 32, 3)
        assert len(source.starts) == source.steps == 12
        assert sorted(source.tasks) == ["press the blue button", "press the red button"]
        _, valid = source.windows(np.array([0, 5, 6]), 4)
        assert valid.sum(1).tolist() == [4, 1, 4]


def _raw_task(folder):
    """Two episodes of six steps in all, of which three have a picture."""
    folder.mkdir(parents=True)
    frame = np.array([0, -1, 1, -1, 2, -1])
    frames = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((3, 16, 16, 3), np.uint8)
    frames.tofile(folder / "frames.u8")
    np.savez(
        folder / "steps.npz", frame=frame, state=np.zeros((6, 4), np.float32), start=np.array([0, 4]),
        action=np.zeros((6, 4), np.float32), points=np.zeros((6, 1, 2, 3), np.float32),
        length=np.array([4, 2]),
    )  # fmt: skip
    meta = {"task": "reach-v3", "instruction": "reach the red dot", "rendering": {"size_px": 16}}
    (folder / "meta.json").write_text(json.dumps(meta))


def test_the_folders_of_two_protocols_share_a_tasks_weight_by_their_pictures(tmp_path):
    _raw_task(tmp_path / "metaworld_raw" / "reach-v3")
    _raw_task(tmp_path / "metaworld_raw_lerobot" / "reach-v3")
    _raw_task(tmp_path / "metaworld_raw_lerobot" / "push-v3")
    weights = {source.name: source.weight for source in metaworld_sources(tmp_path, image_size=16)}
    assert weights == {
        "metaworld_raw/reach-v3": 0.5,
        "metaworld_raw_lerobot/reach-v3": 0.5,
        "metaworld_raw_lerobot/push-v3": 1,
    }


def test_raw_metaworld_windows_begin_at_rendered_steps_only(tmp_path):
    _raw_task(tmp_path / "metaworld_raw" / "reach-v3")
    (source,) = metaworld_sources(tmp_path, image_size=16)
    assert source.starts.tolist() == [0, 2, 4]
    assert source.images(source.starts)[:, 0, 0, 0, 0].tolist() == [0, 1, 2]
    assert source.ends.tolist() == [4, 6]
    (small,) = metaworld_sources(tmp_path, image_size=8)
    assert small.images(source.starts)[:, 0, 0, 0, 0].tolist() == [0, 1, 2]
    with pytest.raises(KinemaError, match=r"reach-v3: pictures are 16 px, .*--image-size 32"):
        metaworld_sources(tmp_path, image_size=32)


def test_the_data_of_one_world_is_not_anothers(tmp_path):
    for folder, name in (
        ("aloha", "aloha_gym"), ("aloha_more", "aloha_gym"), ("libero", "panda_libero"),
        ("simpler", "widowx_simpler"),
    ):  # fmt: skip
        _record(tmp_path / folder / name, load_card(name))
    worlds = ("aloha", "libero", "simpler")
    found = {world: made_sources(tmp_path, image_size=32, world=world) for world in worlds}
    assert {world: [s.card.name for s in sources] for world, sources in found.items()} == {
        "aloha": ["aloha_gym", "aloha_gym"], "libero": ["panda_libero"], "simpler": ["widowx_simpler"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "nano_tabletop",
        "nano_metaworld",
        "nano_metaworld_look",
        "nano_libero",
        "nano_aloha",
        "nano_simpler",
        "nano_mixed",
    ],
)
def test_missing_data_names_the_command_that_makes_it(name, tmp_path):
    with pytest.raises(KinemaError, match="kinema data make"):
        recipes.get(name).stage(Setting(data=tmp_path, out=tmp_path))


def test_unknown_recipes_are_named_with_the_nearest():
    with pytest.raises(KinemaError, match="nano_tabletop"):
        recipes.get("nano_tabeltop")


@pytest.mark.parametrize("robot", [None, "so101_follower", "", "nobody"])
def test_a_set_of_an_unknown_robot_is_named_until_its_map_says_whose_it_is(tmp_path, robot):
    root = tmp_path / "tabletop" / "mine"
    _record(root, load_card("panda"))
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | {"robot_type": robot}))
    with pytest.raises(KinemaError, match=rf"{root}: .*unknown robot .*kinema.yaml: `card: "):
        made_sources(tmp_path, image_size=32)
    (root / "kinema.yaml").write_text("card: panda\n")
    (source,) = made_sources(tmp_path, image_size=32)
    assert source.card.name == "panda"


@pytest.mark.parametrize("name", ["so101_follower", "Panda", "../panda", "panda.yaml"])
def test_whoever_opens_a_set_of_an_unknown_robot_names_its_folder(tmp_path, name):
    root = tmp_path / "tabletop" / "somebodys"
    _record(root, load_card("panda"), size=16)
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"robot_type": name}))
    inverse = nano_inverse()
    for read in (
        lambda: made_sources(tmp_path, image_size=16),
        lambda: inverse.stage(Setting(data=tmp_path, out=tmp_path)),
        lambda: annotate(root),
    ):
        with pytest.raises(KinemaError, match="somebodys"):
            read()
