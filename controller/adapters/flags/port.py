"""The flag port of a real cluster: the guarded store first, then whatever carries the flags, then the answer back."""

from __future__ import annotations

from datetime import datetime

from controller.adapters.flags.acknowledgement import Acknowledgements
from controller.adapters.flags.feature_flag import FeatureFlagProjection
from controller.adapters.flags.store import ConfigMapFlagStore
from controller.adapters.flags.sync_server import SyncServer
from controller.adapters.ports import Acknowledgement, FlagReceipt, RenderedFlags, StoredFlags, WriteOutcome
from controller.types import Sample


class ClusterFlags:
    """Implements :class:`~controller.adapters.ports.FlagPort`.

    Args:
        store: The guarded store; pods that mount its ConfigMap need nothing else.
        acknowledgements: How consumers are asked.
        sync_server: This replica's own streams, told of a write at once; the others learn it from the store.
        feature_flag: The FeatureFlag resource to keep in step; None without one.
    """

    def __init__(
        self,
        store: ConfigMapFlagStore,
        acknowledgements: Acknowledgements,
        *,
        sync_server: SyncServer | None = None,
        feature_flag: FeatureFlagProjection | None = None,
    ) -> None:
        """Put the parts together."""
        self._store = store
        self._acknowledgements = acknowledgements
        self._sync_server = sync_server
        self._feature_flag = feature_flag

    def read(self, now: datetime) -> Sample[StoredFlags]:
        """Read the store."""
        return self._store.read(now)

    def write(self, rendered: RenderedFlags, *, epoch: int, token: str, now: datetime) -> FlagReceipt:
        """Replace the flag set.

        Args:
            rendered: The set.
            epoch: The writer's lease epoch.
            token: From the read that it was rendered for.
            now: Stamps the write.

        Returns:
            How it ended. When the store took it and the FeatureFlag did not, the receipt says so with the stored
            revision: the same write, sent again, mends it.
        """
        receipt = self._store.write(rendered, epoch=epoch, token=token, now=now)
        if receipt.outcome is not WriteOutcome.DONE:
            return receipt
        self._acknowledgements.note_write(rendered.revision, now)
        if self._sync_server is not None:
            self._sync_server.publish(rendered.text, rendered.revision)
        if self._feature_flag is None:
            return receipt
        projected = self._feature_flag.publish(rendered)
        return FlagReceipt(outcome=projected.outcome, text=projected.text, revision=rendered.revision)

    def acknowledgement(self, revision: int, now: datetime) -> Sample[Acknowledgement]:
        """Ask consumers who holds a revision."""
        return self._acknowledgements.ask(revision, now)

    @property
    def learned_seconds(self) -> tuple[float, ...]:
        """Propagation times that were seen, for :class:`~controller.adapters.ports.Learned`."""
        return self._acknowledgements.learned_seconds
