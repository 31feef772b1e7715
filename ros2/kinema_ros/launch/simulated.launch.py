"""The tabletop world as a robot, and the node that moves it. Needs MuJoCo beside ROS.

ros2 launch kinema_ros simulated.launch.py instruction:="put the red block in the blue bowl"
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("kinema_ros"))
ARGUMENTS = {
    "card": "ur5e",
    "topics": str(SHARE / "config" / "ur5e.yaml"),
    "policy": "shipped",
    "instruction": "put the red block in the blue bowl",
}


def generate_launch_description() -> LaunchDescription:
    told = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    robot = {name: told[name] for name in ("card", "topics", "instruction")}
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, default_value=value) for name, value in ARGUMENTS.items()),
            Node(package="kinema_ros", executable="simulated_robot", output="screen", parameters=[robot]),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(SHARE / "launch" / "kinema.launch.py")),
                launch_arguments=told.items(),
            ),
        ]
    )
