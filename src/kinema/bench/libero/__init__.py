"""LIBERO: its suites, its simulator in a process of its own, and how it is played."""
