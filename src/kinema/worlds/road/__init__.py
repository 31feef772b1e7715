"""A road with a crossing: lanes, traffic, and one car that is driven by steering and speed."""
