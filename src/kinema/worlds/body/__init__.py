"""Bodies in MuJoCo, built from their cards, and the control of their joints."""
