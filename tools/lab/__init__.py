"""The whole loop with real processes on one machine, without Docker and without a GPU: `make lab`.

Everything is what a cluster would run: etcd, kube-apiserver, Prometheus, Alertmanager, Redis, the exporter and the
inference server of every node, the operator, and `meltguard load` as the users. What stands in is the hardware (an NVML
library whose GPUs warm up by the work of the inference processes), the cloud (a provider that makes Node objects after
a lead time) and the Service in front of the pods.
"""
