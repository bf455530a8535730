"""Writes the reference pages from the code that they describe; `make docs` calls `tools.docs.__main__`."""
