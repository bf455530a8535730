"""Demand and thermal forecasts: pure but for ``io`` and ``cli``; imports nothing else of ours."""
