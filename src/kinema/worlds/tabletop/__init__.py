"""A table, a robot from a card, language goals that are checked from physical state."""
