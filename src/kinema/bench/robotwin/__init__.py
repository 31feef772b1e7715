"""RoboTwin 2.0: fifty tasks of two arms."""
