"""`kinema eval`, one file for each thing that is judged."""
