"""Settings of the operator, each with its unit; parsed once by the command."""

from __future__ import annotations

from dataclasses import dataclass, field

from controller.adapters.observation.signals import SignalSource
from controller.operator.kubernetes.list_watch import WatchSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """How the operator runs.

    Attributes:
        namespace: Whose SurgePolicies and GPUPools it serves; its Lease and ConfigMaps lie there, too.
        identity: Name of this replica, unique for each process.
        prometheus_url: Where metrics are.
        signals: Whether recording rules are read, or each signal is asked directly.
        listen: ``HOST:PORT`` of metrics, probes and status.
        sync_listen: ``HOST:PORT`` where flags are streamed.
        advisory: Decide and report, write nothing at all.
        period_seconds: Time from the start of a pass to the start of the next.
        least_pause_seconds: Shortest time between two passes, however many objects change.
        max_apply_seconds: A decision older than this is not carried out: the world has moved on.
        num_appliers: Pools that are resized at the same time.
        lease_name: Name of the Lease.
        lease_duration_seconds: Silence of a leader after which another takes over.
        lease_renew_deadline_seconds: A leader that could not renew for this long stops.
        lease_retry_seconds: Time between tries.
        stop_seconds: Longest wait for a pass under way when the process is told to end.
        stuck_after_seconds: A loop that has not turned for this long counts as hung; the liveness probe fails.
        audit_every_seconds: A complete audit line is written at every change, and at least this often without one.
        audit_to_stdout: Whether audit lines go to standard output.
        watch: Bounds of the list-watches.
    """

    namespace: str
    identity: str
    prometheus_url: str = ""
    signals: SignalSource = SignalSource.AUTO
    listen: str = "0.0.0.0:8080"
    sync_listen: str = "0.0.0.0:8015"
    advisory: bool = False
    period_seconds: float = 10.0
    least_pause_seconds: float = 1.0
    max_apply_seconds: float = 20.0
    num_appliers: int = 8
    lease_name: str = "meltguard-operator"
    lease_duration_seconds: int = 15
    lease_renew_deadline_seconds: float = 10.0
    lease_retry_seconds: float = 2.0
    stop_seconds: float = 20.0
    stuck_after_seconds: float = 180.0
    audit_every_seconds: float = 60.0
    audit_to_stdout: bool = True
    watch: WatchSettings = field(default_factory=WatchSettings)
