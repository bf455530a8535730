"""A policy and pools to begin with, from what a live cluster holds: for ``meltguard init``."""
