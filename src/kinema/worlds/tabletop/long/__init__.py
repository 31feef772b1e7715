"""Long tasks: scenes with enough things for several steps, each step what one family asks."""
