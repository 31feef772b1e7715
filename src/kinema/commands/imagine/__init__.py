"""`kinema imagine`, `dream` and `retarget`: films that did not happen."""
