"""The Kubernetes API as the operator needs it: requests with time limits, a lease, lists that stay fresh, a queue."""
