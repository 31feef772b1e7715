"""Scripted experts: feedback policies that say what to do from any state."""
