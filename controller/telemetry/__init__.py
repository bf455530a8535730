"""How the control plane speaks of itself: logs."""
