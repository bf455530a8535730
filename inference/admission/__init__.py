"""Who may have an image now, and what everybody else is told: callers, flags, quotas, waiting times."""
