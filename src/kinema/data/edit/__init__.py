"""Everyday editing: new data sets of the episodes of others. What is edited is never touched."""
