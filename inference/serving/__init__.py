"""The HTTP front of the inference pod: API, life cycle, metrics, local thermal guard."""
