"""The edges of the control plane: node pools, flags and metrics of a real cluster, behind the ports of `ports.py`."""
