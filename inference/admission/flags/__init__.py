"""Flags that a controller sets: read, checked, kept, and asked for through OpenFeature."""
