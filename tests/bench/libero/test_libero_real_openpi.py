"""What servers are told, beside what LIBERO itself reads: skips where its environment has not been made."""

import numpy as np
from test_libero_real import LiberoBenchmark, pytestmark  # noqa: F401 (of this module, too)

from kinema.bench.libero.openpi import openpi_state


def test_what_a_server_is_told_is_the_raw_reading_as_openpi_writes_it() -> None:
    benchmark = LiberoBenchmark(("spatial",))
    env = benchmark.make("spatial/0")
    rng = np.random.default_rng(5)
    for index in (0, 9):
        env.reset_to(index, index)
        for _ in range(40):
            *axis, w = env._reading["robot0_eef_quat"]
            wanted = np.array(axis) / np.sqrt(1 - w**2) * 2 * np.arccos(w)
            told = openpi_state(env.state())
            np.testing.assert_allclose(told[:3], env._reading["robot0_eef_pos"], atol=1e-5)
            np.testing.assert_allclose(told[3:6], wanted, atol=1e-4)
            # the two fingers are not moved quite alike; one opening stands for both
            np.testing.assert_allclose(told[6:], env._reading["robot0_gripper_qpos"], atol=2e-3)
            env.step(rng.uniform(-1, 1, 7))
    env.close()
