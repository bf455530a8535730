"""Sends the schedule: each request at its moment, whatever became of those before it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import structlog

from inference.errors import InferenceError
from inference.load.outcomes import Fate, WishRecord
from inference.load.plan import Arrival, LoadSettings, User

log = structlog.get_logger()
MAX_IN_FLIGHT = 5_000
"""Wishes beyond this many at once are not sent and counted as such: the generator says so instead of slowing down."""
IMPATIENT_SECONDS = 0.5
"""Mean pause before asking again of users who ignore Retry-After; doubles with each refusal."""
MAX_PAUSE_SECONDS = 120.0
PROGRESS_SECONDS = 10.0
ESTIMATE_HEADER = "X-Meltguard-Estimated-Wait-Seconds"
WAIT_HEADER = "X-Meltguard-Wait-Seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestShape:
    """What each request asks for.

    Attributes:
        num_images: Images.
        size: Such as ``8x8``, or ``auto``.
        timeout_seconds: Longest wait for an answer.
    """

    num_images: int = 1
    size: str = "auto"
    timeout_seconds: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One answer."""

    is_served: bool
    code: str
    retry_after_seconds: float | None
    num_images: int = 0
    estimated_wait_seconds: float | None = None
    actual_wait_seconds: float | None = None


class LoadGenerator:
    """One run."""

    def __init__(self, url: str, settings: LoadSettings, shape: RequestShape) -> None:
        """Prepare to offer load.

        Args:
            url: Address of the server, without a path.
            settings: What load.
            shape: What each request asks for.
        """
        self._url = url.rstrip("/")
        self._settings = settings
        self._shape = shape
        self._draw = random.Random(settings.seed + 1)
        self._started_at = 0.0
        self._in_flight = 0

    async def run(self, arrivals: Sequence[Arrival]) -> list[WishRecord]:
        """Send every arrival at its moment and wait for all answers.

        Args:
            arrivals: The schedule, in order of time.

        Returns:
            One record an arrival.

        Raises:
            InferenceError: If nothing answers at the address.
        """
        timeout = aiohttp.ClientTimeout(total=self._shape.timeout_seconds, connect=30.0)
        connector = aiohttp.TCPConnector(limit=0, force_close=False)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            await self._check(session)
            self._started_at = time.monotonic()
            tasks: list[asyncio.Task[WishRecord]] = []
            told_at = 0.0
            for arrival in arrivals:
                await asyncio.sleep(max(arrival.at_seconds - self._now(), 0.0))
                tasks.append(asyncio.create_task(self._wish(session, arrival)))
                if self._now() - told_at >= PROGRESS_SECONDS:
                    told_at = self._now()
                    log.info("load.progress", sent=len(tasks), of=len(arrivals), in_flight=self._in_flight)
            return list(await asyncio.gather(*tasks))

    def _now(self) -> float:
        return time.monotonic() - self._started_at

    async def _check(self, session: aiohttp.ClientSession) -> None:
        try:
            async with session.get(f"{self._url}/readyz") as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise InferenceError(
                f"{self._url} does not answer: {error}; is `meltguard serve` running there?"
            ) from error

    async def _wish(self, session: aiohttp.ClientSession, arrival: Arrival) -> WishRecord:
        user = arrival.user
        record = WishRecord(tier=user.tier, region=user.region, is_new=user.is_new, wanted_at=arrival.at_seconds)
        record.sent_late_seconds = max(self._now() - arrival.at_seconds, 0.0)
        if self._in_flight >= MAX_IN_FLIGHT:
            record.fate, record.ended_at = Fate.NOT_SENT, self._now()
            return record
        self._in_flight += 1
        try:
            await self._attempts(session, arrival, record)
        finally:
            self._in_flight -= 1
        record.ended_at = self._now()
        return record

    async def _attempts(self, session: aiohttp.ClientSession, arrival: Arrival, record: WishRecord) -> None:
        """Ask, and ask again as this user does; the first attempt counts from the moment that the schedule wanted."""
        wanted_at = arrival.at_seconds
        for number in range(self._settings.max_retries + 1):
            record.num_retries = number
            attempt = await self._ask(session, arrival, number)
            if attempt.is_served:
                record.fate, record.num_images = Fate.SERVED, attempt.num_images
                record.served_seconds = self._now() - wanted_at
                record.estimated_wait_seconds = attempt.estimated_wait_seconds
                record.actual_wait_seconds = attempt.actual_wait_seconds
                return
            record.codes.append(attempt.code)
            is_refusal = attempt.retry_after_seconds is not None
            record.fate = Fate.LIMITED if is_refusal else Fate.FAILED
            pause = self._pause_seconds(arrival.user, number, attempt.retry_after_seconds)
            if number == self._settings.max_retries or pause is None:
                return
            wanted_at = self._now() + pause
            await asyncio.sleep(pause)

    def _pause_seconds(self, user: User, number: int, retry_after_seconds: float | None) -> float | None:
        """Return the wait before the next attempt; None where this user gives up.

        The cases: who honours Retry-After waits as told, and gives up when that is too long or longer than the run
        lasts; who ignores it asks again soon, a little later each time.
        """
        if user.honours_retry_after and retry_after_seconds is not None:
            is_too_long = retry_after_seconds > MAX_PAUSE_SECONDS
            ends_in_time = self._now() + retry_after_seconds <= self._settings.duration_seconds
            return retry_after_seconds if ends_in_time and not is_too_long else None
        pause = self._draw.expovariate(1.0 / IMPATIENT_SECONDS) * float(2**number)
        return pause if self._now() + pause <= self._settings.duration_seconds else None

    async def _ask(self, session: aiohttp.ClientSession, arrival: Arrival, number: int) -> _Attempt:
        user = arrival.user
        headers = {"X-Meltguard-User": user.name, "X-Meltguard-Tier": user.tier}
        if user.region:
            headers["X-Meltguard-Region"] = user.region
        if number:
            headers["X-Retry-Attempt"] = str(number)
        body = {"prompt": str(arrival.digit), "n": self._shape.num_images, "size": self._shape.size, "user": user.name}
        try:
            async with session.post(f"{self._url}/v1/images/generations", json=body, headers=headers) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return _Attempt(is_served=False, code=type(error).__name__, retry_after_seconds=None)
        try:
            document = json.loads(raw)
        except ValueError:
            document = {}
        if answer.status == 200:
            return _Attempt(
                is_served=True,
                code="",
                retry_after_seconds=None,
                num_images=len(document.get("data", [])),
                estimated_wait_seconds=_number(answer.headers.get(ESTIMATE_HEADER)),
                actual_wait_seconds=_number(answer.headers.get(WAIT_HEADER)),
            )
        error_body = document.get("error") or {}
        code = str(error_body.get("code") or f"http_{answer.status}")
        return _Attempt(is_served=False, code=code, retry_after_seconds=_number(answer.headers.get("Retry-After")))


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
