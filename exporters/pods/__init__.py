"""Which pod holds which GPU, and what that costs: the kubelet's PodResources, joined to readings."""
