"""The GPU exporter: what the hardware says, and how old that reading is."""
