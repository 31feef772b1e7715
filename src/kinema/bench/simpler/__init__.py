"""SimplerEnv's WidowX tasks."""
