"""Limits on their way to consumers: rendered as flagd JSON, kept in one guarded store, carried by three transports."""
