"""What the repository needs to build and check itself; never part of the wheel."""
