"""The results page: committed results.json files beside published numbers."""
