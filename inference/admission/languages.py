"""The sentences that users read, in English, Spanish and Italian. Pure.

A further language is one more mapping here; a test holds every language to the same keys and fields.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from inference.admission.verdicts import LimitReason, Refusal

MAX_LANGUAGE_RANGES = 16


class Language(StrEnum):
    """Languages that users are answered in."""

    ENGLISH = "en"
    SPANISH = "es"
    ITALIAN = "it"


_ENGLISH: dict[str, str] = {
    "daily_quota": "You have {remaining} of {maximum} images left today, which is too few for this request.",
    "hourly_quota": "You have {remaining} of {maximum} images left this hour, which is too few for this request.",
    "concurrency": "Of {maximum} images at once, {remaining} are free for you now; wait for those in work.",
    "too_many_at_once": "You may have {maximum} images at once; ask for fewer in one request.",
    "admission_ratio": "Demand is above what we can serve, so requests are admitted in turns.",
    "batch_deferred": "Batch work is deferred while demand is high.",
    "queue_full": "The queue is full.",
    "queue_wait": "The wait would be too long.",
    "region_disabled": "Image generation is switched off in your region for now.",
    "thermal_guard": "The GPU is too warm to take more work at this moment.",
    "starting": "This server is still starting.",
    "engine_failed": "This server cannot generate images at the moment.",
    "draining": "This server is shutting down; another one will take your request.",
    "resets": "It ends at {resets} UTC.",
    "retry": "Try again in {retry} seconds.",
    "flag_reason": "Reason: {flag_reason}.",
    "prompt_unsupported": "The prompt must name exactly one thing that this model can draw: {draws}.",
}
_SPANISH: dict[str, str] = {
    "daily_quota": "Hoy le quedan {remaining} de {maximum} imágenes: no bastan para esta petición.",
    "hourly_quota": "Esta hora le quedan {remaining} de {maximum} imágenes: no bastan para esta petición.",
    "concurrency": "De {maximum} imágenes a la vez, ahora tiene libres {remaining}; espere a las que están en curso.",
    "too_many_at_once": "Puede tener {maximum} imágenes a la vez; pida menos en una petición.",
    "admission_ratio": "La demanda supera lo que podemos atender, así que las peticiones se admiten por turnos.",
    "batch_deferred": "El trabajo por lotes se aplaza mientras la demanda es alta.",
    "queue_full": "La cola está llena.",
    "queue_wait": "La espera sería demasiado larga.",
    "region_disabled": "La generación de imágenes está desactivada por ahora en su región.",
    "thermal_guard": "La GPU está demasiado caliente para aceptar más trabajo en este momento.",
    "starting": "Este servidor todavía está arrancando.",
    "engine_failed": "Este servidor no puede generar imágenes en este momento.",
    "draining": "Este servidor se está apagando; otro atenderá su petición.",
    "resets": "Termina a las {resets} UTC.",
    "retry": "Vuelva a intentarlo en {retry} segundos.",
    "flag_reason": "Motivo: {flag_reason}.",
    "prompt_unsupported": "El texto debe nombrar exactamente una cosa que este modelo sepa dibujar: {draws}.",
}
_ITALIAN: dict[str, str] = {
    "daily_quota": "Oggi le restano {remaining} immagini su {maximum}: non bastano per questa richiesta.",
    "hourly_quota": "Quest'ora le restano {remaining} immagini su {maximum}: non bastano per questa richiesta.",
    "concurrency": "Di {maximum} immagini alla volta, ora ne ha libere {remaining}; attenda quelle in corso.",
    "too_many_at_once": "Può avere {maximum} immagini alla volta; ne chieda meno in una richiesta.",
    "admission_ratio": "La domanda supera quanto possiamo servire, perciò le richieste sono ammesse a turno.",
    "batch_deferred": "Il lavoro in blocco è rinviato finché la domanda è alta.",
    "queue_full": "La coda è piena.",
    "queue_wait": "L'attesa sarebbe troppo lunga.",
    "region_disabled": "La generazione di immagini è per ora disattivata nella sua regione.",
    "thermal_guard": "La GPU è troppo calda per accettare altro lavoro in questo momento.",
    "starting": "Questo server è ancora in avvio.",
    "engine_failed": "Questo server non può generare immagini in questo momento.",
    "draining": "Questo server si sta spegnendo; un altro prenderà la sua richiesta.",
    "resets": "Finisce alle {resets} UTC.",
    "retry": "Riprovi tra {retry} secondi.",
    "flag_reason": "Motivo: {flag_reason}.",
    "prompt_unsupported": "Il testo deve indicare esattamente una cosa che questo modello sappia disegnare: {draws}.",
}
SENTENCES: dict[Language, dict[str, str]] = {
    Language.ENGLISH: _ENGLISH,
    Language.SPANISH: _SPANISH,
    Language.ITALIAN: _ITALIAN,
}
_OWN_SCALE = frozenset({LimitReason.DAILY_QUOTA, LimitReason.HOURLY_QUOTA, LimitReason.CONCURRENCY})


def language_of(accept_language: str) -> Language:
    """Return the language that an ``Accept-Language`` header prefers among ours; English when it prefers none."""
    best, best_quality = Language.ENGLISH, 0.0
    for part in accept_language.split(",")[:MAX_LANGUAGE_RANGES]:
        tag, _, parameters = part.strip().partition(";")
        primary = tag.strip().lower().partition("-")[0]
        quality = _quality(parameters)
        if primary in {language.value for language in Language} and quality > best_quality:
            best, best_quality = Language(primary), quality
    return best


def refusal_sentence(refusal: Refusal, language: Language) -> str:
    """Return what a limited user reads: why, what is left, and when it ends."""
    sentences = SENTENCES[language]
    fields = {"remaining": refusal.remaining or 0, "maximum": refusal.maximum or 0}
    parts = [sentences[refusal.reason.value].format(**fields)]
    if refusal.flag_reason:
        parts.append(sentences["flag_reason"].format(flag_reason=refusal.flag_reason))
    if refusal.reason in _OWN_SCALE and refusal.resets_at_unix is not None:
        resets = datetime.fromtimestamp(refusal.resets_at_unix, tz=UTC).strftime("%Y-%m-%d %H:%M")
        parts.append(sentences["resets"].format(resets=resets))
    parts.append(sentences["retry"].format(retry=max(round(refusal.retry_after_seconds + 0.5), 1)))
    return " ".join(parts)


_DRAWS = {
    "the digits 0 to 9": {Language.SPANISH: "las cifras del 0 al 9", Language.ITALIAN: "le cifre da 0 a 9"},
}


def sentence(key: str, language: Language, **fields: str) -> str:
    """Return one sentence, such as why a prompt cannot be drawn; ``draws`` is translated where that is known."""
    draws = fields.get("draws", "")
    translated = _DRAWS.get(draws, {}).get(language, draws)
    return SENTENCES[language][key].format(**{**fields, "draws": translated})


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return min(max(float(value), 0.0), 1.0)
    except ValueError:
        return 0.0
