"""Who asks: user, tier and region of a request, from its key, its address and what a trusted gateway says. Pure.

The cases, in this order:

1. The peer is trusted (a gateway on a stated network): its headers name user, tier, region and the client's address.
2. A key comes along (``Authorization: Bearer``): the user is the key, by its digest; the key itself is never kept.
3. Neither: the user is the address, an IPv6 one by its /64, since one household owns that many addresses.

Headers from anybody else are not read: whoever may name a tier could give itself a paid one.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from inference.errors import InferenceSettingsError

USER_HEADER = "x-meltguard-user"
TIER_HEADER = "x-meltguard-tier"
REGION_HEADER = "x-meltguard-region"
MAX_NAME_LENGTH = 128
MAX_FORWARDED_ADDRESSES = 32
IPV6_HOUSEHOLD_BITS = 64

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
DEFAULT_TRUSTED = "127.0.0.0/8,::1/128"


class CallerKind(StrEnum):
    """How the user is known."""

    NAMED = "named"
    KEY = "key"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks.

    Attributes:
        user: Key of quotas and flags (``targetingKey``); never a secret.
        kind: How it is known.
        tier: Name of a known tier.
        region: Where the user belongs, one of the pod's regions.
    """

    user: str
    kind: CallerKind
    tier: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerRules:
    """What the pod knows about callers.

    Attributes:
        tiers: Names of the tiers; the first is that of everybody of whom nothing is known.
        regions: Names of the regions; the first is the pod's own.
        trusted: Networks whose headers are believed.
    """

    tiers: tuple[str, ...]
    regions: tuple[str, ...]
    trusted: tuple[Network, ...]


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return the networks of a comma-separated list such as ``10.0.0.0/8,::1/128``; empty text trusts nobody.

    Raises:
        InferenceSettingsError: If one is no network.
    """
    networks: list[Network] = []
    for part in (piece.strip() for piece in text.split(",")):
        if not part:
            continue
        try:
            networks.append(ipaddress.ip_network(part, strict=False))
        except ValueError as error:
            raise InferenceSettingsError(
                f"--trusted-proxies {part}: not a network; use addresses such as 10.0.0.0/8"
            ) from error
    return tuple(networks)


def caller_of(headers: Mapping[str, str], peer: str, body_user: str | None, rules: CallerRules) -> Caller:
    """Return who asks.

    Args:
        headers: Of the request; names in lower case, or a mapping that ignores case.
        peer: Address of the connection's other end.
        body_user: The field ``user`` of the body; it tells users of one key apart, and nothing else.
        rules: What the pod knows.

    Returns:
        The caller; of the first tier and the pod's region where nothing better is known.
    """
    trusted = _is_trusted(peer, rules)
    tier, region = rules.tiers[0], rules.regions[0]
    if trusted:
        named_tier, named_region = headers.get(TIER_HEADER, ""), headers.get(REGION_HEADER, "")
        tier = named_tier if named_tier in rules.tiers else tier
        region = named_region if named_region in rules.regions else region
        # Bytes of a header that are no UTF-8 arrive as lone surrogates, which nothing can hash, store or log.
        written = headers.get(USER_HEADER, "").encode("utf-8", errors="backslashreplace").decode("utf-8")
        if named := written[:MAX_NAME_LENGTH]:
            return Caller(user=f"user:{named}", kind=CallerKind.NAMED, tier=tier, region=region)
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        user = f"key:{_digest(key.strip())}"
        if body_user:
            user += f"/{_digest(body_user)}"
        return Caller(user=user, kind=CallerKind.KEY, tier=tier, region=region)
    address = _client_address(headers, peer, rules) if trusted else peer
    return Caller(user=f"address:{_household(address)}", kind=CallerKind.ADDRESS, tier=tier, region=region)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()[:24]


def _is_trusted(address: str, rules: CallerRules) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in rules.trusted)


def _client_address(headers: Mapping[str, str], peer: str, rules: CallerRules) -> str:
    """Return the last address of ``X-Forwarded-For`` that no trusted proxy has; those before it may be invented."""
    forwarded = [part.strip() for part in headers.get("x-forwarded-for", "").split(",") if part.strip()]
    for address in reversed(forwarded[-MAX_FORWARDED_ADDRESSES:]):
        if not _is_trusted(address, rules):
            return address
    return peer


def _household(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, IPV6_HOUSEHOLD_BITS), strict=False))
    return str(parsed)
