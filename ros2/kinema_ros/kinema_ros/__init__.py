"""kinema on ROS 2. What needs no ROS is `kinema.runtime.ros`; `robot` and `goals` speak rclpy."""
