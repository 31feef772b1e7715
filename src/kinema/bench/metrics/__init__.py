"""Numbers computed from outcomes."""
