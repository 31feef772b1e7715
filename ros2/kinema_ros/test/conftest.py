from collections.abc import Iterator

import pytest
import rclpy
from kinema_ros.alone import speak_to_nobody_else

speak_to_nobody_else()


@pytest.fixture(autouse=True)
def ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.shutdown()
