"""Rays, planes and two rays' meeting, against cases worked out by hand and against the world's cameras."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.bench.metrics.geometry import Pinhole, closest_points, fixed_camera, triangulate
from kinema.card.load import load_card
from kinema.schema import KinemaError

DOWN = Pinhole(position_m=np.array([0.0, 0.0, 1.0]), rotation=np.eye(3), fovy_rad=np.pi / 2)


def test_a_camera_that_looks_down_by_hand() -> None:
    # half the view is 45 degrees: from 1 m up the picture's edge is 1 m away
    np.testing.assert_allclose(DOWN.at_height(np.array([0.5, 0.5]), 0.0), [0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(DOWN.at_height(np.array([1.0, 0.5]), 0.0), [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(DOWN.at_height(np.array([0.5, 0.0]), 0.5), [0, 0.5, 0.5], atol=1e-12)
    assert np.isnan(DOWN.at_height(np.array([0.5, 0.5]), 2.0)).all()  # behind it


@given(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(-0.1, 0.3))
def test_projecting_undoes_laying_on_a_plane(x: float, y: float, z: float) -> None:
    _, camera = fixed_camera(load_card("panda"))
    point = np.array([0.48 + x, y, z])
    np.testing.assert_allclose(camera.at_height(camera.project(point), z), point, atol=1e-9)
    assert camera.height_over(camera.project(point), point[:2]) == pytest.approx(z, abs=1e-6)


def test_skew_lines_by_hand() -> None:
    x, y = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    a, b = closest_points(np.array([-1.0, 0, 0]), x, np.array([2.0, -5, 0.3]), y)
    np.testing.assert_allclose(a, [2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(b, [2, 0, 0.3], atol=1e-12)
    a, b = closest_points(np.zeros(3), x, np.array([0, 0.4, 0]), x)  # parallel
    assert np.linalg.norm(a - b) == pytest.approx(0.4)


def test_two_views_of_one_point_meet_there_and_of_two_points_do_not() -> None:
    _, front = fixed_camera(load_card("panda"))
    point, other = np.array([0.5, 0.05, 0.02]), np.array([0.5, 0.11, 0.02])
    place, apart_m = triangulate(front, front.project(point), DOWN, DOWN.project(point))
    np.testing.assert_allclose(place, point, atol=1e-9)
    assert apart_m == pytest.approx(0.0, abs=1e-9)
    _, apart_m = triangulate(front, front.project(point), DOWN, DOWN.project(other))
    assert 0.02 < apart_m <= 0.06  # the rays of points 6 cm apart pass at most 6 cm apart


def test_the_cards_camera_is_the_worlds() -> None:
    mujoco = pytest.importorskip("mujoco")
    from kinema.worlds.body.robots import add_robot, new_spec

    card, spec = load_card("ur5e"), new_spec()
    add_robot(spec, card)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    name, camera = fixed_camera(card)
    number = model.camera(name).id
    np.testing.assert_allclose(data.cam_xpos[number], camera.position_m, atol=1e-9)
    np.testing.assert_allclose(data.cam_xmat[number].reshape(3, 3), camera.rotation, atol=1e-4)
    assert np.radians(model.cam_fovy[number]) == pytest.approx(camera.fovy_rad)


def test_a_body_whose_cameras_all_move_is_refused() -> None:
    card = load_card("panda")
    wrist_only = card.model_copy(update={"cameras": [c for c in card.cameras if c.mount != "world"]})
    with pytest.raises(KinemaError, match="stands still"):
        fixed_camera(wrist_only)
