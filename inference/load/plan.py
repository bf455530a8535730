"""When which user asks: the whole schedule, drawn before the first request. Pure: the seed decides.

Open loop: the schedule does not know how the server does. Two sources of requests add up:

- a standing population asks at a constant mean rate (Poisson);
- new users sign up at a constant mean rate (Poisson); each asks for the first time within seconds and then again a few
  times (geometric), with exponential pauses: a cohort whose requests follow its sign-ups, as in a viral surge.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from inference.errors import InferenceSettingsError

MAX_ARRIVALS = 1_000_000
FIRST_REQUEST_MEAN_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """What load is offered.

    Attributes:
        requests_per_second: Mean rate of the standing population.
        duration_seconds: Length of the schedule, above 0; answers are waited for beyond it.
        tiers: Share of users by tier; in proportion.
        regions: Share of users by region; empty leaves regions to the server.
        num_users: Size of the standing population, above 0.
        signups_per_second: Mean rate of new users.
        requests_per_signup: Mean requests of a new user, at least 1.
        pause_seconds: Mean pause between two requests of a new user, above 0.
        honouring_ratio: Share of users who wait as Retry-After says; the others ask again at once, or soon.
        max_retries: How often a user asks again after a refusal.
        seed: Of everything that is drawn.
    """

    requests_per_second: float = 10.0
    duration_seconds: float = 30.0
    tiers: Mapping[str, float] = field(default_factory=lambda: {"free": 0.9, "paid": 0.1})
    regions: Mapping[str, float] = field(default_factory=dict)
    num_users: int = 1_000
    signups_per_second: float = 0.0
    requests_per_signup: float = 3.0
    pause_seconds: float = 20.0
    honouring_ratio: float = 0.8
    max_retries: int = 3
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who asks.

    Attributes:
        name: Unique within a schedule.
        tier: As the server knows it.
        region: As the server knows it; empty leaves it to the server.
        honours_retry_after: Whether this user waits as told.
        is_new: Signed up within the schedule.
    """

    name: str
    tier: str
    region: str
    honours_retry_after: bool
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One first attempt.

    Attributes:
        at_seconds: When, from the start of the schedule.
        user: Who.
        digit: What is asked for.
    """

    at_seconds: float
    user: User
    digit: int


def schedule(settings: LoadSettings) -> list[Arrival]:
    """Return every first attempt, in order of time.

    Raises:
        InferenceSettingsError: If it would hold more than ``MAX_ARRIVALS``.
    """
    rate = settings.requests_per_second + settings.signups_per_second * settings.requests_per_signup
    if rate * settings.duration_seconds > MAX_ARRIVALS / 2:
        raise InferenceSettingsError(
            f"about {rate * settings.duration_seconds:.0f} requests are too many; lower --rate or --duration"
        )
    draw = random.Random(settings.seed)
    arrivals = [*_standing(settings, draw), *_cohorts(settings, draw)]
    arrivals.sort(key=lambda arrival: arrival.at_seconds)
    return arrivals


def parse_shares(text: str, flag: str) -> dict[str, float]:
    """Return shares by name of ``free=0.9,paid=0.1``; a name alone has the share 1.

    Args:
        text: The option's value; empty for none.
        flag: The option, for messages.

    Returns:
        Positive shares, in proportion.

    Raises:
        InferenceSettingsError: If a share is no positive number.
    """
    shares: dict[str, float] = {}
    for part in (piece.strip() for piece in text.split(",") if piece.strip()):
        name, equals, value = part.partition("=")
        try:
            share = float(value) if equals else 1.0
        except ValueError:
            share = math.nan
        if not name.strip() or not 0.0 < share < math.inf:
            raise InferenceSettingsError(f"{flag} {part}: use NAME=SHARE with a share above 0, such as free=0.9")
        shares[name.strip()] = share
    return shares


def _standing(settings: LoadSettings, draw: random.Random) -> list[Arrival]:
    users = [_user(settings, draw, f"user-{settings.seed}-{number}") for number in range(settings.num_users)]
    return [
        Arrival(at_seconds=moment, user=draw.choice(users), digit=draw.randrange(10))
        for moment in _poisson(settings.requests_per_second, settings.duration_seconds, draw)
    ]


def _cohorts(settings: LoadSettings, draw: random.Random) -> list[Arrival]:
    found: list[Arrival] = []
    signups = _poisson(settings.signups_per_second, settings.duration_seconds, draw)
    goes_on = 1.0 - 1.0 / max(settings.requests_per_signup, 1.0)
    for number, signed_up_at in enumerate(signups):
        user = _user(settings, draw, f"new-{settings.seed}-{number}", is_new=True)
        moment = signed_up_at + draw.expovariate(1.0 / FIRST_REQUEST_MEAN_SECONDS)
        while moment < settings.duration_seconds and len(found) < MAX_ARRIVALS:
            found.append(Arrival(at_seconds=moment, user=user, digit=draw.randrange(10)))
            if draw.random() >= goes_on:
                break
            moment += draw.expovariate(1.0 / settings.pause_seconds)
    return found


def _poisson(rate: float, duration_seconds: float, draw: random.Random) -> list[float]:
    moments: list[float] = []
    if rate <= 0.0:
        return moments
    moment = draw.expovariate(rate)
    while moment < duration_seconds and len(moments) < MAX_ARRIVALS:
        moments.append(moment)
        moment += draw.expovariate(rate)
    return moments


def _user(settings: LoadSettings, draw: random.Random, name: str, *, is_new: bool = False) -> User:
    return User(
        name=name,
        tier=_chosen(settings.tiers, draw),
        region=_chosen(settings.regions, draw),
        honours_retry_after=draw.random() < settings.honouring_ratio,
        is_new=is_new,
    )


def _chosen(shares: Mapping[str, float], draw: random.Random) -> str:
    return draw.choices(list(shares), list(shares.values()))[0] if shares else ""
