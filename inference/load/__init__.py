"""The load generator: offers an inference server open-loop load and says what its users saw."""
