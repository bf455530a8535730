"""The operator: everything that runs in the cluster, from the lease to the last status line."""
