"""Judging the world model: films, rankings, plans and bodies set into scenes."""
