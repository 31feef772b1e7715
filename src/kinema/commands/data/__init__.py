"""`kinema data` and what makes, annotates, compares and records data."""
