"""`kinema train`, one file for each kind of recipe."""
