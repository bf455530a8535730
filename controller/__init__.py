"""The control plane: CLI root, pure planning, adapters, operator loop and simulator."""
