"""A stand-in for an engine: honours the seam, paints test patterns at a stated speed, needs neither model nor torch."""
