"""The version, in one place: setup.cfg reads it from here, and a checkout that is not installed still has one."""

__version__ = "0.1.0"
