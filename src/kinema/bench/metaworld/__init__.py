"""Meta-World: its tasks, its demonstrations and how it is played."""
