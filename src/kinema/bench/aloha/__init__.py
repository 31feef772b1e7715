"""ALOHA: its two simulated tasks, an expert, and how they are played."""
