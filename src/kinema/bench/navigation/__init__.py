"""Finding one's way: VLN-CE's metrics and episode files, and our houses as a benchmark."""
