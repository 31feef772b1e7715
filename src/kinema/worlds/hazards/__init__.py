"""Scenes with things that can go wrong, and motion that makes them."""
