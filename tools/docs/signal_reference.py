"""Writes the pages about what the operator asks Prometheus, out of the queries themselves."""

import yaml

from controller.adapters.observation.signals import RULE_PREFIX, SignalSettings, queries, recording_rules
from tools.docs.tables import code, table

SAMPLE_BUSY_WATTS = 690.0
_INTRODUCTION = """\
# Signals

What `meltguard operator` asks Prometheus in every pass: one query a signal, for all pools or all regions and tiers at
once. A value is as old as its newest scrape (the `timestamp` signals); what no series says is absent, and never zero.

## Labels that must be there

`pool` and `region` stand on no exporter's series by themselves. Prometheus adds them when it scrapes: from the labels
of the node for the GPU exporter, from those of the pod for the inference server. With the node role of its Kubernetes
discovery, for example:

```yaml
relabel_configs:
  - {source_labels: [__meta_kubernetes_node_label_meltguard_dev_pool], target_label: pool}
  - {source_labels: [__meta_kubernetes_node_label_topology_kubernetes_io_region], target_label: region}
```

Pods of the inference server need `region`, and `pool` and `node` where ready nodes without a ready pod should not count
as serving. A series without its label is left out and named in the operator's problems.

## Asked directly, or recorded

Up to about a hundred pools nothing has to be set up. Beyond that, let Prometheus record the signals:
[signals.rules.yaml](signals.rules.yaml) holds the rules, made from the same source as the queries below; one query then
reads them all. `--signals auto`, the default, reads the rules while they record anything and looks for them again once
a minute; `--signals recorded` and `--signals direct` insist. After an upgrade renew the rules: a signal that they do
not record is absent. The file compares plateaus at %g W; change that number to the power of your GPUs when they are
busy.

"""


def signals_page() -> str:
    """Return the page of signals."""
    rows = [(code(RULE_PREFIX + signal.value), code(query)) for signal, query in queries(_sample_settings()).items()]
    return _INTRODUCTION % SAMPLE_BUSY_WATTS + table(("recorded as", "query"), rows)


def signal_rules_text() -> str:
    """Return the file of recording rules."""
    head = "# Records what the operator asks; docs/reference/signals.md says when that is worth it.\n"
    return head + yaml.safe_dump(recording_rules(_sample_settings()), sort_keys=False, width=1000)


def _sample_settings() -> SignalSettings:
    return SignalSettings(busy_watts=SAMPLE_BUSY_WATTS)
