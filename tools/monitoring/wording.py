"""What every notification says about the controller: read from Prometheus when the alert is sent. Pure.

The texts are Prometheus templates; `query` in them runs on the Prometheus that sends the alert, so that the person who
is called reads the rung that is in force, not a guess.
"""

from __future__ import annotations

CONTROLLER_IN_REGION = (
    "{{ with printf `region:meltguard_controller_rung:max{region=%q}` $labels.region | query }}"
    "Rung {{ . | first | value }} of 7 is in force in {{ $labels.region }}."
    "{{ else }}No controller reports a rung for this region: nothing automatic is happening.{{ end }}"
)
CONTROLLER_IN_FLEET = (
    "{{ with query `max(region:meltguard_controller_rung:max)` }}"
    "The highest rung in force anywhere is {{ . | first | value }} of 7."
    "{{ else }}No controller reports a rung: nothing automatic is happening.{{ end }}"
)
OUTLIER = (
    "A single GPU or node never limits users: its pod's local guard bounds the work that it gets, and draining it is "
    "for a person."
)
