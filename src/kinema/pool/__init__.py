"""Work that many processes share: one pool, whose workers are processes of this machine or actors on Ray."""
