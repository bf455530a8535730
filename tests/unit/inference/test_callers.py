"""Who asks: by a trusted gateway's word, by key, or by address."""

from __future__ import annotations

import pytest

from inference.admission.attempts import MAX_USERS, MEMORY_SECONDS, Attempt, AttemptMemory
from inference.admission.callers import Caller, CallerKind, CallerRules, caller_of, parse_networks
from inference.errors import InferenceSettingsError

RULES = CallerRules(tiers=("free", "paid"), regions=("eu", "us"), trusted=parse_networks("10.0.0.0/8, ::1/128"))
GATEWAY, STRANGER = "10.1.2.3", "203.0.113.9"


def ask(peer: str = STRANGER, user: str | None = None, **headers: str) -> Caller:
    return caller_of({name.replace("_", "-").lower(): value for name, value in headers.items()}, peer, user, RULES)


def test_a_gateway_names_user_tier_and_region() -> None:
    """A trusted peer's headers are believed as far as they name what is known."""
    caller = ask(GATEWAY, X_Meltguard_User="ann", X_Meltguard_Tier="paid", X_Meltguard_Region="us")
    assert caller == Caller(user="user:ann", kind=CallerKind.NAMED, tier="paid", region="us")
    unknown = ask(GATEWAY, X_Meltguard_User="ann", X_Meltguard_Tier="gold", X_Meltguard_Region="mars")
    assert (unknown.tier, unknown.region) == ("free", "eu")


def test_a_stranger_names_nothing() -> None:
    """The same headers from elsewhere change nothing."""
    caller = ask(STRANGER, X_Meltguard_User="ann", X_Meltguard_Tier="paid", X_Forwarded_For="1.2.3.4")
    assert caller == Caller(user=f"address:{STRANGER}", kind=CallerKind.ADDRESS, tier="free", region="eu")


def test_a_key_is_a_user_and_no_secret() -> None:
    """Users of keys are told apart, the body's user within a key too, and the key stands in no name."""
    one, other = ask(Authorization="Bearer sk-one"), ask(Authorization="bearer sk-two")
    assert one.kind is other.kind is CallerKind.KEY
    assert len({one.user, other.user, ask(user="kid", Authorization="Bearer sk-one").user}) == 3
    assert "sk-one" not in one.user
    assert ask(Authorization="Basic abc").kind is CallerKind.ADDRESS


@pytest.mark.parametrize(
    ("forwarded", "user"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7, 10.9.9.9", "198.51.100.7"),
        ("10.9.9.9", GATEWAY),
        ("", GATEWAY),
        ("nonsense", "unknown"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ],
)
def test_the_address_is_the_last_that_no_proxy_of_ours_has(forwarded: str, user: str) -> None:
    """What stands before it in X-Forwarded-For may be invented; IPv6 counts by household."""
    assert ask(GATEWAY, X_Forwarded_For=forwarded).user == f"address:{user}"


def test_a_network_that_is_none_is_refused() -> None:
    """The message names the option and the word."""
    with pytest.raises(InferenceSettingsError, match="--trusted-proxies 10.0.0: "):
        parse_networks("10.0.0")
    assert parse_networks("") == ()


def test_a_refusal_makes_one_retry() -> None:
    """Each refusal lets one later request count as its retry, for a quarter of an hour."""
    memory = AttemptMemory()
    assert memory.classify("ann", {}, 0.0) is Attempt.FIRST
    memory.refused("ann", 0.0)
    memory.refused("ann", 1.0)
    assert [memory.classify("ann", {}, 2.0) for _ in range(3)] == [Attempt.RETRY, Attempt.RETRY, Attempt.FIRST]
    memory.refused("ann", 10.0)
    assert memory.classify("ann", {}, 11.0 + MEMORY_SECONDS) is Attempt.FIRST


@pytest.mark.parametrize(("header", "value", "kind"), [
    ("x-stainless-retry-count", "0", Attempt.FIRST),
    ("x-stainless-retry-count", "2", Attempt.RETRY),
    ("x-retry-attempt", "1", Attempt.RETRY),
])  # fmt: skip
def test_clients_that_count_are_believed(header: str, value: str, kind: Attempt) -> None:
    """OpenAI's libraries say which attempt it is."""
    assert AttemptMemory().classify("ann", {header: value}, 0.0) is kind


def test_the_memory_of_refusals_is_bounded() -> None:
    """The users refused longest ago are forgotten first."""
    memory = AttemptMemory()
    for number in range(MAX_USERS + 1):
        memory.refused(str(number), 0.0)
    assert memory.classify("0", {}, 1.0) is Attempt.FIRST
    assert memory.classify("1", {}, 1.0) is Attempt.RETRY
