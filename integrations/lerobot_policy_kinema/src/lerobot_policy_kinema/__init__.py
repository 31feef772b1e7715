"""kinema's policies as a lerobot policy. lerobot imports this package and thereby knows the type `kinema`."""

from lerobot_policy_kinema.configuration_kinema import KinemaConfig as KinemaConfig
