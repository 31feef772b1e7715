"""Houses to find one's way in: rooms, doors and furniture from a seed, routes, words, a base that moves."""
