import os
from collections.abc import Iterator

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")  # a test hears no other machine
os.environ.setdefault("ROS_DOMAIN_ID", str(10 + os.getpid() % 90))  # nor another run of the tests

import pytest
import rclpy


@pytest.fixture(autouse=True)
def ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.shutdown()
