"""Many poses at once are the same poses one by one."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.card.batched import tools_of
from kinema.card.kinematics import tool_pose
from kinema.card.load import card_names, load_card

ARMS = [(name, i) for name in card_names() for i in range(len(load_card(name).arms))]


@pytest.mark.parametrize(("name", "which"), ARMS)
def test_tools_are_those_of_single_poses_and_the_jacobian_is_their_slope(name, which):
    arm = load_card(name).arms[which]
    low, high = np.array([joint.range for joint in arm.joints]).T
    joints = np.random.default_rng(0).uniform(low, high, (3, len(low)))
    tools = tools_of(arm, joints)
    poses = np.array([tool_pose(arm, row) for row in joints])
    np.testing.assert_allclose(tools.pos_m, poses[:, :3, 3], atol=1e-9)
    np.testing.assert_allclose(tools.rotation, poses[:, :3, :3], atol=1e-9)
    for i, step in enumerate(1e-6 * np.eye(len(low))):
        after, before = tools_of(arm, joints + step), tools_of(arm, joints - step)
        turn = (after.rotation - before.rotation) @ np.swapaxes(tools.rotation, 1, 2) / 2e-6
        np.testing.assert_allclose(tools.jacobian[:, :3, i], (after.pos_m - before.pos_m) / 2e-6, atol=1e-7)
        np.testing.assert_allclose(
            tools.jacobian[:, 3:, i], np.stack([turn[:, 2, 1], turn[:, 0, 2], turn[:, 1, 0]], 1), atol=1e-7
        )


def test_joints_of_another_number_are_refused():
    with pytest.raises(ValueError, match="right arm has 7 joints"):
        tools_of(load_card("panda").arms[0], np.zeros((2, 6)))
