"""Acting for bodies elsewhere: one process that answers several clients over the network."""

from importlib.metadata import version

VERSION = version("kinema")
