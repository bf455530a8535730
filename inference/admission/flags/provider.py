"""An OpenFeature provider that never takes a worse flag set than it has.

``openfeature-provider-flagd`` applies whatever arrives; this one (docs/decisions/0096) applies only what was checked,
refuses lower revisions, and keeps the last good set for as long as nothing better comes. Evaluation is flagd's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType
from openfeature.provider import AbstractProvider, Metadata

from inference.admission.flags.document import FlagProblem, FlagSet, FlagSetError, parse_flag_set

log = structlog.get_logger()
REPORT_AGAIN_SECONDS = 60.0
"""The same problem is logged at most this often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagState:
    """What is in force, for metrics and ``/readyz``.

    Attributes:
        revision: Revision of the set in force; 0 before the first and for a set without one.
        version: Decision that wrote it.
        age_seconds: Since its source last confirmed it; None before the first.
        accepted_at_unix: When it came into force, Unix seconds; None before the first.
        problem: What was wrong with the last set that was refused since; empty when nothing is.
        num_refused: Sets refused so far, by kind.
    """

    revision: int
    version: str
    age_seconds: float | None
    accepted_at_unix: float | None
    problem: str
    num_refused: Mapping[FlagProblem, int]


class GuardedFlagProvider(AbstractProvider):
    """Holds the flag set in force."""

    def __init__(self, contexts: tuple[EvaluationContext, ...]) -> None:
        """Begin with no flags; every flag has its caller's default then.

        Args:
            contexts: Where a set must evaluate well to be accepted.
        """
        super().__init__()
        self._contexts = contexts
        self._evaluator = FlagdCore()
        self._set: FlagSet | None = None
        self._confirmed_at: float | None = None
        self._accepted_at_unix: float | None = None
        self._is_live = False
        self._problem = ""
        self._problem_logged_at = 0.0
        self._num_refused = dict.fromkeys(FlagProblem, 0)
        self.on_change: Callable[[], None] | None = None

    # --- what sources call ---

    def offer(self, text: str | bytes, source: str) -> bool:
        """Take a flag set over if it may be; True if it is in force now.

        The cases: it cannot be used: refused. Its revision is lower than that in force, or it has none while the one in
        force has: refused. Else it holds from now on (an equal revision may come again after a reconnection).

        Args:
            text: flagd JSON.
            source: Where it comes from, for the log.

        Returns:
            Whether it was accepted.
        """
        try:
            flag_set = parse_flag_set(text, self._contexts)
            self._check_revision(flag_set)
        except FlagSetError as error:
            self.report(error.problem, str(error), source)
            return False
        is_new = self._set is None or flag_set.revision != self._set.revision or flag_set.revision is None
        self._set, self._evaluator = flag_set, flag_set.evaluator
        self._problem = ""
        self.confirm()
        if is_new:
            self._accepted_at_unix = time.time()
            log.info(
                "flags.accepted",
                source=source,
                revision=flag_set.revision,
                version=flag_set.version,
                num_flags=flag_set.num_flags,
            )
        if hasattr(self, "_on_emit"):
            self.emit_provider_configuration_changed(ProviderEventDetails())
        if self.on_change is not None:
            self.on_change()
        return True

    def confirm(self) -> None:
        """Take note that the source still says the same."""
        self._confirmed_at = time.monotonic()

    def live(self, is_live: bool) -> None:
        """Say whether the source would tell of a change at once; the set does not age meanwhile."""
        if self._is_live and not is_live:
            self.confirm()
        self._is_live = is_live

    def report(self, problem: FlagProblem, message: str, source: str) -> None:
        """Count and log something that was refused; what is in force stays.

        Args:
            problem: The kind.
            message: What is wrong.
            source: Where it came from.
        """
        self._num_refused[problem] += 1
        said = f"{source}: {message}"
        now = time.monotonic()
        if said != self._problem or now - self._problem_logged_at > REPORT_AGAIN_SECONDS:
            log.warning("flags.refused", source=source, problem=problem.value, message=message, kept=self._revision())
            self._problem_logged_at = now
        self._problem = said

    def state(self) -> FlagState:
        """Return what is in force, and how fresh it is."""
        age = None if self._confirmed_at is None else time.monotonic() - self._confirmed_at
        return FlagState(
            revision=self._revision() or 0,
            version="" if self._set is None else self._set.version,
            age_seconds=0.0 if self._is_live and age is not None else age,
            accepted_at_unix=self._accepted_at_unix,
            problem=self._problem,
            num_refused=dict(self._num_refused),
        )

    def next_change_unix(self, now_unix: float) -> float | None:
        """Return when a limit of the set in force next ends by itself, Unix seconds; None when none will."""
        times = () if self._set is None else self._set.change_times
        return next((moment for moment in times if moment > now_unix), None)

    def _revision(self) -> int | None:
        return None if self._set is None else self._set.revision

    def _check_revision(self, flag_set: FlagSet) -> None:
        held = self._revision()
        if held is None:
            return
        if flag_set.revision is None:
            raise FlagSetError(FlagProblem.OLDER, f"it has no metadata.revision, and {held} is in force")
        if flag_set.revision < held:
            raise FlagSetError(FlagProblem.OLDER, f"revision {flag_set.revision} is lower than {held}, in force")

    # --- what OpenFeature calls ---

    def get_metadata(self) -> Metadata:
        """Return the provider's name."""
        return Metadata(name="meltguard-flagd")

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Evaluate a flag.

        Args:
            flag_key: Which.
            default_value: Its value where the set names none.
            evaluation_context: Who asks.

        Returns:
            Value, variant and reason.
        """
        return self._evaluator.resolve_boolean_value(flag_key, default_value, evaluation_context)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Evaluate a flag.

        Args:
            flag_key: Which.
            default_value: Its value where the set names none.
            evaluation_context: Who asks.

        Returns:
            Value, variant and reason.
        """
        return self._evaluator.resolve_string_value(flag_key, default_value, evaluation_context)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Evaluate a flag.

        Args:
            flag_key: Which.
            default_value: Its value where the set names none.
            evaluation_context: Who asks.

        Returns:
            Value, variant and reason.
        """
        return self._evaluator.resolve_integer_value(flag_key, default_value, evaluation_context)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Evaluate a flag.

        Args:
            flag_key: Which.
            default_value: Its value where the set names none.
            evaluation_context: Who asks.

        Returns:
            Value, variant and reason.
        """
        return self._evaluator.resolve_float_value(flag_key, default_value, evaluation_context)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Evaluate a flag.

        Args:
            flag_key: Which.
            default_value: Its value where the set names none.
            evaluation_context: Who asks.

        Returns:
            Value, variant and reason.
        """
        return self._evaluator.resolve_object_value(flag_key, default_value, evaluation_context)
