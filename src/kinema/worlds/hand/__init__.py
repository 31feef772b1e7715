"""A person's hand: its world, its track, and its path given to a robot."""
