"""Node pools of every kind behind one port: what may be written where, and why a write did not have its effect."""
