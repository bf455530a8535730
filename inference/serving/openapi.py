"""The OpenAPI 3.1 document of the server, made from the types of the API. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from inference.serving import api

_TYPES = (
    api.ImagesRequest, api.ImagesResponse, api.ErrorResponse, api.ModelList, api.QuotaResponse, api.ReadyResponse,
)  # fmt: skip
_REF = "#/components/schemas/{name}"
Json = dict[str, Any]  # JSON, of OpenAPI's shape

_RETRY: Json = {
    "Retry-After": {
        "description": "Whole seconds until asking again makes sense.",
        "schema": {"type": "integer", "minimum": 1},
    }
}


def _body(name: str) -> Json:
    return {"application/json": {"schema": {"$ref": _REF.format(name=name)}}}


def _error(description: str, *, limited: bool = False) -> Json:
    answer: Json = {"description": description, "content": _body("ErrorResponse")}
    if limited:
        answer["headers"] = _RETRY
    return answer


def _text(description: str) -> Json:
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}


def _get(summary: str, answers: Json) -> Json:
    return {"get": {"summary": summary, "responses": answers}}


def openapi_document(version: str) -> Json:
    """Return the document.

    Args:
        version: Version of meltguard.

    Returns:
        JSON of OpenAPI 3.1.
    """
    _, components = msgspec.json.schema_components(_TYPES, ref_template=_REF)
    stream = {"text/event-stream": {"schema": {"type": "string"}}}
    generation: Json = {
        "post": {
            "summary": "Generate images from a prompt.",
            "security": [{}, {"key": []}],
            "requestBody": {"required": True, "content": _body("ImagesRequest")},
            "responses": {
                "200": {"description": "Images, or a stream.", "content": {**_body("ImagesResponse"), **stream}},
                "400": _error("The request cannot be met; the message says what can."),
                "403": _error("`region_disabled`: generation is off in the user's region.", limited=True),
                "408": _error("The body did not come in time."),
                "413": _error("The body is too large."),
                "415": _error("The body is not JSON."),
                "429": _error("`quota_exceeded` or `contended`.", limited=True),
                "500": _error("The engine broke while it worked."),
                "503": _error("`no_capacity` or `draining`.", limited=True),
            },
        }
    }  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {"title": "meltguard inference", "version": version},
        "paths": {
            "/v1/images/generations": generation,
            "/v1/models": _get(
                "List the model.", {"200": {"description": "One model.", "content": _body("ModelList")}}
            ),
            "/v1/quota": _get(
                "Say what the asking user may have.",
                {"200": {"description": "Limits, use and reset times.", "content": _body("QuotaResponse")}},
            ),
            "/metrics": _get("Metrics for Prometheus.", {"200": _text("Text or OpenMetrics format.")}),
            "/healthz": _get("Liveness.", {"200": _text("It lives."), "503": _text("The engine hangs.")}),
            "/livez": _get("Liveness.", {"200": _text("It lives."), "503": _text("The engine hangs.")}),
            "/readyz": _get(
                "Readiness, with what is missing.",
                {
                    "200": {"description": "Fit for work.", "content": _body("ReadyResponse")},
                    "503": {"description": "Not fit for work.", "content": _body("ReadyResponse")},
                },
            ),
            "/openapi.json": _get(
                "This document.", {"200": {"description": "OpenAPI 3.1.", "content": {"application/json": {}}}}
            ),
        },
        "components": {"schemas": components, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }
