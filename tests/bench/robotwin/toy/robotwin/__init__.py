"""What `kinema.bench.robotwin` asks of the real package, without scenes."""
