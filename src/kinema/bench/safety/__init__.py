"""Judging the gate: chunks, pairs, whole episodes, scores and their report."""
