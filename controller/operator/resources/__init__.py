"""GPUPool and SurgePolicy: their shape, the manifests made from it, and how they become pools and a policy."""
