"""Where flag sets come from: a file that is watched, or a flagd sync stream. Both run as one asyncio task.

A source only offers; whether a set is taken is the provider's business. A source that fails tries again for ever, at a
bounded rate, and never takes back what it offered before.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Protocol

import structlog

from inference.admission.flags.document import MAX_DOCUMENT_BYTES, FlagProblem
from inference.admission.flags.provider import GuardedFlagProvider
from inference.errors import InferenceSettingsError

log = structlog.get_logger()
SYNC_SCHEME = "grpc://"
LOOK_SECONDS = 0.2
"""Between two looks at the file; a change reaches admission within this time."""
REREAD_SECONDS = 2.0
"""Contents are compared at least this often, for changes that leave size and time of the file alone."""
FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 2.0
MAX_MESSAGE_BYTES = 4 * MAX_DOCUMENT_BYTES


class FlagSource(Protocol):
    """Something that offers flag sets until it is cancelled."""

    async def run(self) -> None:
        """Offer every flag set as it comes."""
        ...


def flag_source(where: str, provider: GuardedFlagProvider) -> FlagSource:
    """Return the source that ``--flags`` names: a path, or ``grpc://HOST:PORT``.

    Args:
        where: The option's value.
        provider: Takes the flag sets.

    Returns:
        The source, not running yet.

    Raises:
        InferenceSettingsError: If it is neither an existing file nor such an address.
    """
    if where.startswith(SYNC_SCHEME):
        host, colon, port = where.removeprefix(SYNC_SCHEME).rpartition(":")
        if not colon or not host or not port.isdecimal():
            raise InferenceSettingsError(f"--flags {where}: use {SYNC_SCHEME}HOST:PORT")
        return SyncSource(f"{host}:{port}", provider)
    path = Path(where)
    if not path.exists():
        raise InferenceSettingsError(f"--flags {where}: no such file; give a flagd JSON file or {SYNC_SCHEME}HOST:PORT")
    return FileSource(path, provider)


class FileSource:
    """Watches a file, links included, as Kubernetes swaps those of a ConfigMap."""

    def __init__(self, path: Path, provider: GuardedFlagProvider) -> None:
        """Watch ``path`` for ``provider``."""
        self._path = path
        self._provider = provider
        self._seen: tuple[int, int, int] | None = None
        self._contents: bytes | None = None
        self._was_accepted = False
        self._read_at = 0.0

    async def run(self) -> None:
        """Look, and look again."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Offer the file's contents if they changed."""
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen == self._seen and time.monotonic() - self._read_at < REREAD_SECONDS:
                self._confirm_same()
                return
            with self._path.open("rb") as file:
                contents = file.read(MAX_DOCUMENT_BYTES + 1)
        except OSError as error:
            self._seen = None
            self._provider.report(FlagProblem.UNREADABLE, error.strerror or str(error), str(self._path))
            return
        self._seen, self._read_at = seen, time.monotonic()
        if contents == self._contents:
            self._confirm_same()
            return
        self._contents = contents
        self._was_accepted = self._provider.offer(contents, str(self._path))

    def _confirm_same(self) -> None:
        if self._was_accepted:
            self._provider.confirm()


class SyncSource:
    """Reads a flagd sync stream, such as the operator's, and connects again when it ends."""

    def __init__(self, target: str, provider: GuardedFlagProvider) -> None:
        """Read the stream at ``target`` (``HOST:PORT``) for ``provider``."""
        self._target = target
        self._provider = provider

    async def run(self) -> None:
        """Connect, read, and begin anew."""
        backoff_seconds = FIRST_BACKOFF_SECONDS
        while True:
            received = await self._read_stream()
            self._provider.live(False)
            backoff_seconds = FIRST_BACKOFF_SECONDS if received else min(2 * backoff_seconds, MAX_BACKOFF_SECONDS)
            await asyncio.sleep(backoff_seconds)

    async def _read_stream(self) -> bool:
        """Offer what one stream brings until it ends; True if it brought anything."""
        import grpc
        from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2, sync_pb2_grpc

        received = False
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", round(MAX_BACKOFF_SECONDS * 1000)),
        ]
        async with grpc.aio.insecure_channel(self._target, options=options) as channel:
            stub = sync_pb2_grpc.FlagSyncServiceStub(channel)
            try:
                async for message in stub.SyncFlags(sync_pb2.SyncFlagsRequest(provider_id="meltguard-inference")):
                    received = True
                    accepted = self._provider.offer(message.flag_configuration, f"{SYNC_SCHEME}{self._target}")
                    self._provider.live(accepted)
                problem = "the stream ended"
            except grpc.aio.AioRpcError as error:
                problem = f"{error.code().name}: {error.details()}"
        self._provider.report(FlagProblem.UNREADABLE, problem, f"{SYNC_SCHEME}{self._target}")
        return received
