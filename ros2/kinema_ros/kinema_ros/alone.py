"""Keeps simulated robots apart from real ones: both have the same topics."""

import os

_RARE_DOMAINS = range(215, 233)  # those above 101 that Linux lets ROS use


def speak_to_nobody_else() -> None:
    """This process, and those that it starts: on this machine alone, in a domain that is not the user's."""
    theirs = os.environ.get("ROS_DOMAIN_ID")
    free = [str(domain) for domain in _RARE_DOMAINS if str(domain) != theirs]
    os.environ["ROS_DOMAIN_ID"] = free[os.getpid() % len(free)]
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
