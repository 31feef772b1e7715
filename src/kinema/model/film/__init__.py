"""Reading films: where things and bodies are, and which actions were done."""
