"""Laws of things drawn by meshes: only the picture changes, and without the package primitives are drawn."""

from __future__ import annotations

import logging

import mujoco
import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.worlds import TabletopEnv, Variation, wide
from kinema.worlds.body.robots import new_spec
from kinema.worlds.cameras import PLAIN, Cameras
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.tabletop.things import metaworld
from kinema.worlds.tabletop.things.catalog import KINDS
from kinema.worlds.tabletop.things.draw import draw_look
from kinema.worlds.tabletop.things.item import Item, Look
from kinema.worlds.tabletop.things.metaworld import DRAWINGS, SIZES, add_drawings, nearest_size
from kinema.worlds.tabletop.things.textures import add_textures

WIDE, PANDA = Variation(look="wide"), load_card("panda")


class Stand:
    """One item on nothing, in a compiled model."""

    def __init__(self) -> None:
        spec, self.item = new_spec(), Item("item")
        add_textures(spec)
        add_drawings(spec)
        spec.worldbody.add_camera(name="close", pos=[0, -0.2, 0.1], xyaxes=[1, 0, 0, 0, 0.45, 0.89])
        self.item.add(spec)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.item.bind(self.model)

    def show(self, name: str, meshed: bool, scale: float = 1.0) -> None:
        color = (KINDS[name].colors or ("red",))[0]
        look = Look(kind=KINDS[name], color=color, rgb=(0.7, 0.1, 0.1), scale=scale, meshed=meshed)
        self.item.dress(self.model, look)
        self.item.place(self.model, self.data, np.zeros(2), 0.0)
        mujoco.mj_forward(self.model, self.data)

    def drawn_box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner (3,) of what is shown [m]."""
        points, model = [], self.model
        for geom in self.item.shown:
            turn = self.data.geom_xmat[geom].reshape(3, 3)
            if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
                mesh = model.geom_dataid[geom]
                first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
                corners = model.mesh_vert[first : first + count]
            else:
                size = model.geom_size[geom]
                if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CYLINDER:
                    size = size[[0, 0, 1]]
                corners = np.concatenate([np.diag(size), -np.diag(size)])
            points.append(corners @ turn.T + self.data.geom_xpos[geom])
        return np.concatenate(points).min(0), np.concatenate(points).max(0)


@pytest.fixture(scope="module")
def stand() -> Stand:
    return Stand()


@pytest.mark.parametrize("name", DRAWINGS)
def test_what_is_felt_and_weighed_is_the_same_whatever_is_drawn(stand: Stand, name: str) -> None:
    felt = []
    for meshed in (False, True):
        stand.show(name, meshed)
        model = stand.model
        meets = (model.geom_contype > 0) | (model.geom_conaffinity > 0)
        assert not meets[stand.item.shown].any()
        felt.append([
            model.geom_size[meets], model.geom_pos[meets], model.geom_quat[meets], model.geom_rbound[meets],
            model.body_mass, model.body_inertia, model.body_ipos, stand.data.qM,
        ])  # fmt: skip
        felt[-1] = [np.array(value) for value in felt[-1]]
        types = model.geom_type[stand.item.shown]
        assert (types == mujoco.mjtGeom.mjGEOM_MESH).any() == meshed
    for before, after in zip(*felt):
        assert np.array_equal(before, after)


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize("size", [0.78, 0.91, 1.08])
def test_a_meshed_thing_stands_where_its_solid_does(stand: Stand, name: str, size: float) -> None:
    stand.show(name, True, size)
    low, high = stand.drawn_box()
    half = size * np.array(KINDS[name].half_m)
    # Flat things are drawn a little thicker or thinner than what jaws close on; nothing sinks or floats.
    assert -0.006 < low[2] < 0.005
    assert np.all(low < half)
    assert np.all(high > 0)
    assert (high - low)[0] > half[0]
    assert np.ptp([low, high], axis=0).max() < 0.13


def test_training_and_held_out_sizes_share_no_mesh() -> None:
    rng, shown = np.random.default_rng(0), {}
    for held_out in (False, True):
        shown[held_out] = {nearest_size(wide.SIZE.draw(rng, held_out)) for _ in range(400)}
    assert not shown[False] & shown[True]
    for size in np.linspace(0.63, 1.08, 50):
        assert abs(nearest_size(size) / size - 1) < 0.031
    assert np.all(np.diff(SIZES) > 0)


def test_kinds_with_meshes_are_drawn_both_ways() -> None:
    rng = np.random.default_rng(0)
    share = np.mean([draw_look(rng, WIDE, "mug").meshed for _ in range(300)])
    assert 0.4 < share < 0.6
    assert len(DRAWINGS) >= 8
    assert set(DRAWINGS) <= set(KINDS)


def test_without_the_package_the_same_episode_is_drawn_by_primitives(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = []
    for package in ("metaworld", "no-such-package-of-things"):
        monkeypatch.setattr(metaworld, "PACKAGE", package)
        with caplog.at_level(logging.WARNING):
            envs = [
                TabletopEnv(card=load_card("panda"), family="pick_place", variation=WIDE) for _ in range(2)
            ]
        env = envs[0]
        env.reset(11)
        expert, found = Expert(env), [env.instruction]
        for _ in range(25):
            env.step(expert.act())
            found.append(env.scene.data.qpos.tobytes())
        told.append(found)
        cameras = Cameras(env.scene.model, env.card.camera_names, 64, PLAIN)
        assert all(picture.std() > 0 for picture in cameras.pictures(env.scene.data))
        cameras.close()
        assert bool(env.scene.model.nmesh) == (package == "metaworld")
    assert told[0] == told[1]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "no-such-package-of-things is not installed" in said[0]
