"""Runners: what takes every row of a batch one token further, on whatever model."""
