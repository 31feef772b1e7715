"""Recordings in other formats than LeRobot's, read where they lie: one file a format, one protocol."""
