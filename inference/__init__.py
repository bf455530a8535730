"""The reference inference pod: images generated token by token under limits that a controller sets."""
