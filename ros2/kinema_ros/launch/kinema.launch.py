"""The node, configured and activated as far as its parameters let it.

ros2 launch kinema_ros kinema.launch.py card:=ur5e topics:=ur5e.yaml policy:=ws://robots.example:8000
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(get_package_share_directory("kinema_ros"))
ARGUMENTS = {
    "card": "ur5e",
    "topics": str(SHARE / "config" / "ur5e.yaml"),
    "policy": "shipped",
    "instruction": "",
}


def generate_launch_description() -> LaunchDescription:
    text = {name: ParameterValue(LaunchConfiguration(name), value_type=str) for name in ARGUMENTS}
    simulated = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, default_value=value) for name, value in ARGUMENTS.items()),
            DeclareLaunchArgument("parameters", default_value=str(SHARE / "config" / "parameters.yaml")),
            DeclareLaunchArgument("use_sim_time", default_value="false"),
            LifecycleNode(
                package="kinema_ros",
                executable="kinema_node",
                name="kinema",
                namespace="",
                output="screen",
                parameters=[
                    LaunchConfiguration("parameters"),
                    {**text, "use_sim_time": simulated, "autostart": True},
                ],
            ),
        ]
    )
