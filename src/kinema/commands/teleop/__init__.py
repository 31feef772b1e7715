"""A person moves a robot: teleoperation, recording, replay, calibration."""
