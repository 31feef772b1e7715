"""Meshes are only seen: they change no motion, no mass and no policy's picture, and come from a package's own
files or not at all."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.card import EmbodimentCard
from kinema.card.drawing import MOST_MESHES
from kinema.card.load import CardError, card_names, load_card, parse_card
from kinema.schema import KinemaError
from kinema.worlds.body import meshes
from kinema.worlds.body.meshes import MOST_TRIANGLES, triangles_m
from kinema.worlds.body.robots import add_robot, new_spec
from kinema.worlds.cameras import FILM, MESHES, PLAIN, Cameras
from kinema.worlds.tabletop.env import TabletopEnv, families_for
from kinema.worlds.tabletop.experts.expert import Expert
from laws import examples

SHIPPED = Path(meshes.__file__).parents[2] / "card" / "robots"
DRAWN = tuple(name for name in card_names() if any(arm.mesh_folder for arm in load_card(name).arms))
PLAYED = tuple(name for name in DRAWN if "pick_place" in families_for(name))
CUBE = np.array(
    [[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 1, 0], [0, 0, 1]],
     [[0, 0, 0], [0, 0, 1], [1, 0, 0]], [[1, 0, 0], [0, 0, 1], [0, 1, 0]]], "<f4",
)  # fmt: skip


def stl(triangles: np.ndarray, count: int | None = None) -> bytes:
    records = np.zeros(len(triangles), meshes._TRIANGLE)
    records["corners"] = triangles
    return bytes(80) + (len(records) if count is None else count).to_bytes(4, "little") + records.tobytes()


class Package:
    """An installed package that this test owns."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, "stranger"
        (folder / "stranger-1.0.dist-info").mkdir()
        (folder / "stranger-1.0.dist-info" / "METADATA").write_text("Name: stranger\nVersion: 1.0\n")
        self._record = folder / "stranger-1.0.dist-info" / "RECORD"

    def install(self, path: str, data: bytes) -> str:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(data)
        return self.list(path)

    def list(self, path: str) -> str:
        with self._record.open("a") as record:
            record.write(f"{path},,\n")
        return path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return Package(folder)


def with_folder(card: EmbodimentCard, **changes: object) -> EmbodimentCard:
    arms = [
        arm.model_copy(update={"mesh_folder": arm.mesh_folder.model_copy(update=changes)})
        for arm in card.arms
        if arm.mesh_folder
    ]
    return card.model_copy(update={"arms": tuple(arms)})


def test_bodies_of_two_packages_are_drawn() -> None:
    assert {arm.mesh_folder.package for name in DRAWN for arm in load_card(name).arms if arm.mesh_folder} == {
        "metaworld", "gym-aloha"
    }  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_meshes_weigh_nothing_and_meet_nothing(name: str) -> None:
    card, bare, drawn = load_card(name), new_spec(), new_spec()
    add_robot(bare, card)
    add_robot(drawn, card)
    meshes.draw_links(drawn, card)
    before, after = bare.compile(), drawn.compile()
    for field in ("body_mass", "body_inertia", "body_ipos", "body_iquat", "dof_armature", "qpos0", "dof_M0"):
        assert np.array_equal(getattr(before, field), getattr(after, field)), field
    seen = after.geom_group == MESHES
    assert seen.any()
    assert not after.geom_contype[seen].any()
    assert not after.geom_conaffinity[seen].any()
    for field in ("geom_type", "geom_size", "geom_pos", "geom_quat", "geom_contype", "geom_conaffinity"):
        assert np.array_equal(getattr(before, field), getattr(after, field)[~seen]), field


@pytest.mark.parametrize("name", PLAYED)
def test_an_episode_with_meshes_is_the_same_to_the_last_bit(name: str) -> None:
    """Motion, contacts, what the expert does and what a policy sees."""
    seen = []
    for drawn in (False, True):
        env = TabletopEnv(card=load_card(name), family="pick_place", image_size=48, meshes=drawn)
        env.reset(5)
        expert, told = Expert(env), []
        for _ in range(60):
            env.step(expert.act())
            told += [env.scene.data.qpos.tobytes(), env.scene.data.ncon, env.scene.tip().tobytes()]
        told += [picture.tobytes() for picture in env.observe().images.values()]
        seen.append(told)
        env.close()
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", PLAYED)
def test_films_show_meshes_in_place_of_primitives(name: str) -> None:
    env = TabletopEnv(card=load_card(name), family="pick_place", meshes=True)
    env.reset(0)
    model = env.scene.model
    robot = [model.body(f"{a.side}/{link.name}").id for a in env.card.arms for link in a.links if link.meshes]
    for effects, drawn in ((PLAIN, False), (FILM, True), (replace(FILM, meshes=False), False)):
        cameras = Cameras(model, env.card.camera_names, 128, effects)
        geoms = np.unique(np.stack(cameras.outlines(env.scene.data))[..., 0])
        cameras.close()
        mine = [geom for geom in geoms if geom >= 0 and model.geom_bodyid[geom] in robot]
        assert mine
        assert {bool(model.geom_group[geom] == MESHES) for geom in mine} == {drawn}
    env.close()


def test_what_a_body_is_holds_no_word_of_its_meshes(tmp_path: Path) -> None:
    """So an artifact's card and a run's fingerprint are what they were, and the stored card is no other."""
    card = load_card("sawyer")
    told = card.model_dump_json()
    assert "mesh" not in told
    again = EmbodimentCard.model_validate_json(told)
    assert again.model_dump() == card.model_dump()
    (tmp_path / "sawyer.yaml").write_text(told)
    assert load_card(tmp_path / "sawyer.yaml").model_dump() == card.model_dump()


def test_without_the_package_primitives_are_drawn_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    card = with_folder(load_card("sawyer"), package="no-such-package-of-kinema")
    with caplog.at_level(logging.WARNING):
        envs = [TabletopEnv(card=card, family="pick_place", meshes=True) for _ in range(2)]
    assert [r.getMessage() for r in caplog.records] == [
        "no-such-package-of-kinema is not installed, so what its meshes show is drawn by primitives; "
        "pip install no-such-package-of-kinema"
    ]
    bare = TabletopEnv(card=load_card("sawyer"), family="pick_place")
    cameras = [Cameras(env.scene.model, env.card.camera_names, 64, FILM) for env in (*envs, bare)]
    shown = []
    for env, camera in zip((*envs, bare), cameras):
        env.reset(0)
        shown.append([picture.tobytes() for picture in camera.pictures(env.scene.data)])
        camera.close()
        env.close()
    assert shown[0] == shown[1] == shown[2]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("file", "../l0.stl"), ("file", "/etc/passwd"), ("file", "a/../../l0.stl"), ("file", "..stl"),
        ("file", "l0.obj"), ("file", "l0.stl\n"), ("file", "a\\l0.stl"), ("file", "./l0.stl"),
        ("file", "a//b.stl"), ("file", "~/l0.stl"), ("file", "file:l0.stl"), ("file", ""),
        ("file", "l\x00.stl"),
        ("folder", "../../.."), ("folder", "/"), ("folder", "metaworld/"), ("folder", ".ssh"),
        ("folder", "a" * 201),
        ("package", "../metaworld"), ("package", ""), ("package", "meta world"), ("package", "-e"),
    ],
)  # fmt: skip
def test_a_card_names_no_place_but_a_file_in_a_package(key: str, value: str) -> None:
    was = {"file": "file: l0.stl", "folder": "folder: metaworld/assets/objects/meshes/xyz_base",
           "package": "package: metaworld"}[key]  # fmt: skip
    text = (SHIPPED / "sawyer.yaml").read_text()
    assert was in text
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\x00", "\\0")
    with pytest.raises(CardError, match=r"mesh|character"):
        parse_card(text.replace(was, f'{key}: "{escaped}"').encode(), "a card")


def test_meshes_of_a_card_are_counted() -> None:
    one = "          - {file: l1.stl, rgb: [0.6, 0.12, 0.13]}\n"
    text = (SHIPPED / "sawyer.yaml").read_text()
    with pytest.raises(CardError, match="at most"):
        parse_card(text.replace(one, (MOST_MESHES + 1) * one).encode(), "a card")


def test_links_with_meshes_need_a_folder() -> None:
    card = load_card("sawyer")
    told = {**card.arms[0].model_dump(), "links": card.arms[0].links}
    with pytest.raises(ValueError, match="mesh_folder"):
        type(card.arms[0])(**told)


def test_only_files_that_the_package_installed_are_read(package: Package, tmp_path: Path) -> None:
    secret = tmp_path / "secret.stl"
    secret.write_bytes(stl(CUBE))
    good = package.install("stranger/good.stl", stl(CUBE))
    assert np.array_equal(triangles_m("stranger", good, 0.5), 0.5 * CUBE)
    (package.folder / "stranger" / "stray.stl").write_bytes(stl(CUBE))
    (package.folder / "stranger" / "link.stl").symlink_to(secret)
    (package.folder / "stranger" / "folder.stl").mkdir()
    outside = [
        package.list("../secret.stl"),
        package.list("stranger/link.stl"),
        package.list("stranger/folder.stl"),
    ]
    for path in ("stranger/stray.stl", "stranger/none.stl", str(secret), *outside):
        with pytest.raises(KinemaError, match=r"\.stl"):
            triangles_m("stranger", path)
    with pytest.raises(KinemaError, match="not installed"):
        triangles_m("no-such-package", good)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "binary STL"), (b"solid a\nendsolid a\n", "binary STL"), (stl(CUBE)[:-1], "binary STL"),
        (stl(CUBE) + b"x", "binary STL"), (stl(CUBE, 2**32 - 1), "binary STL"), (stl(CUBE[:3]), "binary STL"),
        (stl(np.full((4, 3, 3), np.nan)), "finite"), (stl(np.full((4, 3, 3), np.inf)), "finite"),
        (stl(100 * CUBE), "unit_m"), (stl(3e38 * CUBE), "unit_m"), (stl(1e-4 * CUBE), "unit_m"),
        (stl(0 * CUBE), "unit_m"), (stl(CUBE * [1, 0, 0]), "unit_m"),
        (stl(CUBE[..., [0, 0, 0]]), "unit_m"), (stl(np.repeat(CUBE[:1], 4, 0)), "unit_m"),
        (stl(np.resize(CUBE, (MOST_TRIANGLES + 1, 3, 3))), "at most"),
    ],
)  # fmt: skip
def test_a_hostile_file_is_refused_by_name(package: Package, data: bytes, fault: str) -> None:
    path = package.install("stranger/bad.stl", data)
    with pytest.raises(KinemaError, match=f"bad.stl.*{fault}"):
        triangles_m("stranger", path)


@examples(20)
@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 1e-7, 0.001, 0.1, 1.0, -2.0]), min_size=9, max_size=9), min_size=4
    )
)
def test_whatever_is_let_through_can_be_compiled(
    tmp_path_factory: pytest.TempPathFactory, rows: list
) -> None:
    """Flat, folded, thin and doubled triangles too: the world may draw nonsense, but it stands."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        path = Package(folder).install("stranger/odd.stl", stl(np.array(rows).reshape(-1, 3, 3)))
        try:
            triangles = triangles_m("stranger", path)
        except KinemaError:
            return
        spec = mujoco.MjSpec()
        meshes.add_mesh(spec, path, triangles)
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=path, contype=0, conaffinity=0)
        spec.compile()
