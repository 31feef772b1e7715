"""Words for what happened: events, sentences and their checks."""
