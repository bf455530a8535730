"""Checks of a live installation, for ``meltguard doctor``: each says what it found and what to do about it."""
