"""The command line of ``meltguard``: the root, and the controller's own commands."""
