"""Checks of the repository that no ready-made tool makes; each is a module that `make check` runs."""
