from glob import glob

from setuptools import setup

setup(
    name="kinema_ros",
    version="0.1.0",
    packages=["kinema_ros"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/kinema_ros"]),
        ("share/kinema_ros", ["package.xml"]),
        ("share/kinema_ros/launch", glob("launch/*.launch.py")),
        ("share/kinema_ros/config", glob("config/*.yaml")),
    ],
    install_requires=["setuptools"],  # and kinema itself: see docs/ros.md
    zip_safe=True,
    maintainer="kinema",
    maintainer_email="dev@example.com",
    description="Drives a body that a kinema card describes, by a sentence, over ROS 2 topics and actions",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "kinema_node = kinema_ros.node:main",
            "simulated_robot = kinema_ros.simulated_robot:main",
        ]
    },
)
