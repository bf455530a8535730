"""The serving process: puts collector, fleet, pages and HTTP together and runs until told to stop.

Called by ``exporters.cli``. Everything runs in one event loop; what takes longer (thermal model, kubelet, passwords) in
worker threads. It never touches the driver.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from exporters.collector import CollectorSettings
from exporters.errors import ExporterError, SettingsError
from exporters.exposition import OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE, accepts_gzip, wants_openmetrics
from exporters.fleet import Fleet
from exporters.http_server import HttpServer, Request, Response
from exporters.logs import Log
from exporters.pods.attribution import PodAttribution
from exporters.pods.pod_resources import PodResourcesClient
from exporters.publisher import Publisher
from exporters.settings import Address, ExporterSettings
from exporters.sources import make_source
from exporters.supervision import Deadlines, Role
from exporters.supervisor import Supervisor
from exporters.thermal_state_file import ThermalStateFile
from exporters.thermals import EnergyMeter, ThermalTracker, model_is_installed, thermal_inputs
from exporters.web_config import (
    Authenticator,
    TlsSettings,
    WebConfig,
    load_web_config,
    make_tls_context,
    reload_certificate,
)

COALESCE_SECONDS = 0.03
"""Readings of all GPUs arrive within milliseconds; one rendering serves them all."""
MIN_RENDER_SECONDS = 0.2
THERMAL_OFFSET_SECONDS = 0.15
WEB_CONFIG_CHECK_SECONDS = 5.0
NUM_WORKER_THREADS = 3
WORKER_STACK_BYTES = 1 << 20
SWITCH_SECONDS = 0.0005
"""A worker thread must not hold up a scrape for Python's usual 5 ms."""
_UNAUTHENTICATED = frozenset({"/healthz", "/livez", "/readyz"})
"""Probes bypass the users: the kubelet has no password."""

_INDEX = b"""<!doctype html><title>meltguard exporter</title><h1>meltguard exporter</h1>
<p><a href="/metrics">metrics</a> <a href="/api/v1/gpus">gpus</a> <a href="/readyz">readyz</a></p>
"""


@dataclass(slots=True, kw_only=True)
class Web:
    """The web configuration in force."""

    config: WebConfig
    authenticator: Authenticator | None
    tls: ssl.SSLContext | None


def open_web(settings: ExporterSettings) -> Web:
    """Return the web configuration; an empty one without a file.

    Raises:
        SettingsError: If the file cannot be used.
    """
    config = WebConfig(users={}) if settings.web_config is None else load_web_config(settings.web_config)
    return Web(
        config=config,
        authenticator=Authenticator(config.users) if config.users else None,
        tls=None if config.tls is None else make_tls_context(config.tls),
    )


def check_settings(settings: ExporterSettings) -> None:
    """Refuse what could only fail later.

    Raises:
        SettingsError: If the source, a file or a combination cannot be used.
    """
    if settings.nvml_library is not None and not settings.nvml_library.exists():
        raise SettingsError(f"--nvml-library {settings.nvml_library}: there is no such file")
    # A replay reads its whole file here once, so that a wrong one is named at start and not in a collector's log.
    if not settings.source.startswith("nvml"):
        make_source(settings.source, None)
    elif settings.source != "nvml":
        raise SettingsError(f"--source {settings.source}: use nvml, simulated, simulated:N or replay:FILE")


class Service:
    """The exporter's serving process."""

    def __init__(self, settings: ExporterSettings, version: str, log: Log, *, announce: bool = False) -> None:
        """Prepare to serve as ``settings`` say; ``announce`` writes the address to standard output too.

        Raises:
            SettingsError: If the settings cannot be used.
        """
        check_settings(settings)
        self._settings = settings
        self._log = log
        self._is_announcing = announce
        self._web = open_web(settings)
        self._fleet = Fleet()
        self._changed = asyncio.Event()
        self._has_thermals = False
        self._supervisor = Supervisor(
            CollectorSettings(
                source=settings.source,
                nvml_library=None if settings.nvml_library is None else str(settings.nvml_library),
                period_seconds=settings.period_seconds,
            ),
            Deadlines(),
            self._fleet,
            on_change=self._changed.set,
            log=log,
        )
        self._pods = self._open_pods()
        self._publisher = Publisher(
            fleet=self._fleet,
            settings=settings,
            version=version,
            pids=self._pids,
            starts=lambda: {why.value: count for why, count in self._supervisor.num_starts.items()},
            num_abandoned=lambda: len(self._supervisor.abandoned),
            pods=self._pods,
        )
        self._server = HttpServer(
            handler=self.handle,
            address=settings.listen,
            tls=self._web.tls,
            extra_headers=lambda: self._web.config.headers,
        )

    def _open_pods(self) -> PodAttribution | None:
        socket = self._settings.pod_resources
        if socket is None:
            return None
        client = PodResourcesClient(socket)
        return PodAttribution(client=client, fleet=self._fleet, node=self._settings.node, log=self._log)

    def _pids(self) -> dict[str, int]:
        pids = {"server": os.getpid()}
        for role, pid in self._supervisor.collector_pids.items():
            pids["collector" if role is Role.ACTIVE else f"collector_{role.value}"] = pid
        return pids

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            ExporterError: If the address cannot be taken.
        """
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        threading.stack_size(WORKER_STACK_BYTES)
        loop.set_default_executor(ThreadPoolExecutor(max_workers=NUM_WORKER_THREADS, thread_name_prefix="worker"))
        sys.setswitchinterval(SWITCH_SECONDS)
        # Imported before anybody can scrape: it takes a third of a second in which nothing else runs.
        self._has_thermals = self._settings.derived_thermals and model_is_installed()
        if self._settings.derived_thermals and not self._has_thermals:
            self._log.warning("exporter.thermal_model_missing", cure="install numpy to derive thermals")
        try:
            address = await self._server.start()
        except OSError as error:
            listen = self._settings.listen
            raise ExporterError(f"--listen {listen.host}:{listen.port}: {error.strerror}; choose another") from error
        tasks = [asyncio.create_task(body()) for body in self._bodies()]
        self._announce(address)
        # What is alive now lives on: the collector of garbage need not look at it again during scrapes.
        gc.collect()
        gc.freeze()
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in (stopping, *tasks):
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)
        await self._server.stop()
        self._log.info("exporter.stopped")
        for task in done - {stopping}:
            # A background task never ends by itself: hand on what ended it.
            task.result()

    def _bodies(self) -> list[Callable[[], Coroutine[None, None, None]]]:
        bodies: list[Callable[[], Coroutine[None, None, None]]] = [self._supervisor.run, self._render_on_change]
        if self._has_thermals:
            bodies.append(self._follow_heat)
        if self._pods is not None:
            bodies.append(self._pods.follow)
        if self._settings.web_config is not None:
            bodies.append(self._follow_web_config)
        return bodies

    def _announce(self, address: Address) -> None:
        scheme = "http" if self._web.tls is None else "https"
        host = f"[{address.host}]" if ":" in address.host else address.host
        url = f"{scheme}://{host}:{address.port}"
        self._log.info("exporter.ready", address=url, source=self._settings.source)
        if self._is_announcing:
            print(
                json.dumps({"schema": "meltguard.exporter/v1", "event": "exporter.ready", "address": url}), flush=True
            )

    async def _render_on_change(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(COALESCE_SECONDS)
            self._changed.clear()
            if self._pods is not None:
                self._pods.settle()
            await self._publisher.render()
            await asyncio.sleep(MIN_RENDER_SECONDS - COALESCE_SECONDS)

    async def _follow_heat(self) -> None:
        """Step the thermal model shortly after each round of readings."""
        if not await asyncio.to_thread(model_is_installed):
            self._log.warning(
                "exporter.thermal_model_missing", cure="install the forecasting package to derive thermals"
            )
            await asyncio.Event().wait()
        tracker, meter = ThermalTracker(self._settings.node), EnergyMeter()
        path = self._settings.thermal_state
        state_file = None if path is None else ThermalStateFile(path, tracker, self._log)
        if state_file is not None:
            await asyncio.to_thread(state_file.load)
        period = max(self._settings.period_seconds, 1.0)
        while True:
            now = time.monotonic()
            await asyncio.sleep(period - (now - THERMAL_OFFSET_SECONDS) % period)
            inputs = thermal_inputs(self._fleet, meter)
            self._publisher.estimates = await asyncio.to_thread(tracker.step, time.monotonic(), inputs)
            if state_file is not None:
                await asyncio.to_thread(state_file.save_if_due, time.monotonic())

    async def _follow_web_config(self) -> None:
        """Take in a changed web configuration or certificate; a broken one is reported and the old one stays."""
        path = self._settings.web_config
        assert path is not None, "only followed where a file is given"
        stamp = self._web_stamp()
        while True:
            await asyncio.sleep(WEB_CONFIG_CHECK_SECONDS)
            if self._web_stamp() == stamp:
                continue
            stamp = self._web_stamp()
            try:
                self._replace_web(load_web_config(path))
            except SettingsError as error:
                self._log.warning("exporter.web_config_refused", detail=str(error))

    def _replace_web(self, config: WebConfig) -> None:
        if (config.tls is None) != (self._web.tls is None):
            raise SettingsError("TLS cannot be switched on or off while running; restart the exporter")
        # An editor may empty the file before it fills it: that must not open the door to everybody.
        if self._web.config.users and not config.users:
            raise SettingsError("users cannot be switched off while running; restart the exporter")
        authenticator = Authenticator(config.users) if config.users else None
        if config.tls is not None and self._web.tls is not None:
            reload_certificate(self._web.tls, config.tls)
        self._web = Web(config=config, authenticator=authenticator, tls=self._web.tls)
        self._log.info("exporter.web_config_reloaded")

    def _web_stamp(self) -> tuple[float, ...]:
        paths = [self._settings.web_config]
        tls: TlsSettings | None = self._web.config.tls
        if tls is not None:
            paths += [tls.cert_file, tls.key_file]
        stamps: list[float] = []
        for path in paths:
            try:
                stamps.append(path.stat().st_mtime if path is not None else 0.0)
            except OSError:
                stamps.append(0.0)
        return tuple(stamps)

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        if not await self._is_allowed(request):
            return Response(
                status=HTTPStatus.UNAUTHORIZED,
                body=b"unauthorized\n",
                headers=(("WWW-Authenticate", 'Basic realm="meltguard"'),),
            )
        match request.path:
            case "/metrics":
                return self._metrics(request)
            case "/api/v1/gpus":
                return Response(content_type="application/json", body=self._publisher.gpus_json())
            case "/healthz" | "/livez":
                return Response(body=b"ok\n")
            case "/readyz":
                return self._readyz()
            case "/":
                return Response(content_type="text/html; charset=utf-8", body=_INDEX)
            case _:
                return Response(status=HTTPStatus.NOT_FOUND, body=b"not found; try /metrics\n")

    async def _is_allowed(self, request: Request) -> bool:
        authenticator = self._web.authenticator
        if authenticator is None or request.path in _UNAUTHENTICATED:
            return True
        return await authenticator.allows(request.headers.get("authorization", ""))

    def _metrics(self, request: Request) -> Response:
        openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        gzip = accepts_gzip(request.headers.get("accept-encoding", ""))
        return Response(
            content_type=OPENMETRICS_CONTENT_TYPE if openmetrics else TEXT_CONTENT_TYPE,
            body=self._publisher.metrics(openmetrics=openmetrics, gzip=gzip, scraper=request.peer),
            headers=(("Content-Encoding", "gzip"), ("Vary", "Accept, Accept-Encoding")) if gzip else (),
        )

    def _readyz(self) -> Response:
        """Ready while at least one GPU is read, or there is none to read; says in any case what is wrong."""
        now = time.monotonic()
        self._fleet.expire(now, self._settings.stale_after_seconds)
        problems = [
            {"gpu": gpu.identity.index, "uuid": gpu.identity.uuid, "reason": gpu.reason}
            for gpu in self._fleet.gpus.values()
            if not gpu.is_up
        ]
        ready = any(gpu.is_up for gpu in self._fleet.gpus.values())
        if not self._fleet.gpus:
            ready = self._supervisor.is_collecting
        document: dict[str, object] = {"ready": ready, "gpus_down": problems}
        if self._fleet.failure is not None:
            document["collector"] = {"reason": self._fleet.failure[0], "detail": self._fleet.failure[1]}
        elif not self._supervisor.is_collecting:
            document["collector"] = {"reason": "starting", "detail": "no collector has opened its source yet"}
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Response(status=status, content_type="application/json", body=json.dumps(document).encode() + b"\n")
