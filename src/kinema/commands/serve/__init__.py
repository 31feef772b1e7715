"""`kinema serve`, `client`, `keys` and the benchmarks of the server."""
