"""Long tasks: with a planner and without, in the same scenes."""
