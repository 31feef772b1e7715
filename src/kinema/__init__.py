"""kinema: an open system for embodied intelligence."""

__version__ = "0.1.0"
