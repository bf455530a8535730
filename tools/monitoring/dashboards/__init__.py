"""Grafana dashboards as code: what each panel asks, and how Grafana writes it."""
