"""Errors as answers: `application/problem+json` (RFC 9457) with a stable `code`, always with a `detail`.

One table says which error code is which HTTP status; an error without a line in it would be a 500.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scray.errors import BadRequest, DiskFull, InvalidField, ScrayError, StorageError
from scray.log import Action, event
from scray.retry import FULL

MEDIA_TYPE = "application/problem+json"

STATUS_OF: Mapping[str, HTTPStatus] = {
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
    # the request
    "bad-request": HTTPStatus.BAD_REQUEST,
    "upload-broken": HTTPStatus.BAD_REQUEST,
    "missing-chunks": HTTPStatus.BAD_REQUEST,
    "chunk-mismatch": HTTPStatus.BAD_REQUEST,
    "digest-mismatch": HTTPStatus.BAD_REQUEST,
    "source-changed": HTTPStatus.BAD_REQUEST,
    "unauthorised": HTTPStatus.UNAUTHORIZED,
    "forbidden": HTTPStatus.FORBIDDEN,
    "not-found": HTTPStatus.NOT_FOUND,
    "timed-out": HTTPStatus.REQUEST_TIMEOUT,
    "ambiguous": HTTPStatus.CONFLICT,
    "conflict": HTTPStatus.CONFLICT,
    "illegal-transition": HTTPStatus.CONFLICT,
    "lease-lost": HTTPStatus.CONFLICT,
    "chunk-differs": HTTPStatus.CONFLICT,
    "chunk-busy": HTTPStatus.CONFLICT,
    "chunk-damaged": HTTPStatus.CONFLICT,
    "session-expired": HTTPStatus.GONE,
    "cancelled": HTTPStatus.CONFLICT,
    "body-too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "invalid-field": HTTPStatus.UNPROCESSABLE_ENTITY,
    "bad-parameter": HTTPStatus.UNPROCESSABLE_ENTITY,
    # the input
    "bad-input": HTTPStatus.UNPROCESSABLE_ENTITY,
    "empty-input": HTTPStatus.UNPROCESSABLE_ENTITY,
    "truncated-input": HTTPStatus.UNPROCESSABLE_ENTITY,
    "nothing-to-convert": HTTPStatus.UNPROCESSABLE_ENTITY,
    "wrong-sensor": HTTPStatus.UNPROCESSABLE_ENTITY,
    "missing-source": HTTPStatus.UNPROCESSABLE_ENTITY,
    "mixed-input": HTTPStatus.UNPROCESSABLE_ENTITY,
    "unsupported": HTTPStatus.UNPROCESSABLE_ENTITY,
    "missing-filter": HTTPStatus.UNPROCESSABLE_ENTITY,
    "hostile-input": HTTPStatus.UNPROCESSABLE_ENTITY,
    "unsafe-path": HTTPStatus.UNPROCESSABLE_ENTITY,
    "too-large": HTTPStatus.UNPROCESSABLE_ENTITY,
    "bad-archive": HTTPStatus.UNPROCESSABLE_ENTITY,
    "encrypted-archive": HTTPStatus.UNPROCESSABLE_ENTITY,
    "archive-link": HTTPStatus.UNPROCESSABLE_ENTITY,
    "archive-device": HTTPStatus.UNPROCESSABLE_ENTITY,
    "archive-bomb": HTTPStatus.UNPROCESSABLE_ENTITY,
    # remote sources
    "source-not-found": HTTPStatus.UNPROCESSABLE_ENTITY,
    "source-denied": HTTPStatus.UNPROCESSABLE_ENTITY,
    "source-refused": HTTPStatus.UNPROCESSABLE_ENTITY,
    "source-unreachable": HTTPStatus.BAD_GATEWAY,
    "remote-changed": HTTPStatus.CONFLICT,
    "checksum-mismatch": HTTPStatus.UNPROCESSABLE_ENTITY,
    "forbidden-address": HTTPStatus.UNPROCESSABLE_ENTITY,
    "seal-broken": HTTPStatus.INTERNAL_SERVER_ERROR,
    # this system
    "disk-full": HTTPStatus.INSUFFICIENT_STORAGE,
    "quota-exceeded": HTTPStatus.INSUFFICIENT_STORAGE,
    "no-space": HTTPStatus.INSUFFICIENT_STORAGE,
    "never-fits": HTTPStatus.INSUFFICIENT_STORAGE,
    "storage": HTTPStatus.SERVICE_UNAVAILABLE,
    "storage-missing": HTTPStatus.SERVICE_UNAVAILABLE,
    "database": HTTPStatus.SERVICE_UNAVAILABLE,
    "reader-crashed": HTTPStatus.UNPROCESSABLE_ENTITY,
    "unsealed": HTTPStatus.INTERNAL_SERVER_ERROR,
    "worker-lost": HTTPStatus.INTERNAL_SERVER_ERROR,
    "poison-brick": HTTPStatus.INTERNAL_SERVER_ERROR,
    "verification-failed": HTTPStatus.INTERNAL_SERVER_ERROR,
    "service": HTTPStatus.BAD_GATEWAY,
    "unreachable": HTTPStatus.BAD_GATEWAY,
    "incomplete": HTTPStatus.INTERNAL_SERVER_ERROR,
}
CODE_OF = {401: "unauthorised", 403: "forbidden", 404: "not-found", 408: "timed-out", 413: "body-too-large"}
PHRASES = {460: "Checksum Mismatch"}  # of tus alone
RETRY_AFTER_SECONDS = 5
PASSING = frozenset({"chunk-busy"})  # refusals that are over in a moment


class WrongField(BaseModel):
    """`loc` is where it was: body, query or path, and its name."""

    type: str
    loc: list[str | int]
    msg: str


class Problem(BaseModel):
    """What every refusal is. `code` is one of those in the documentation of errors, `detail` a sentence."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[WrongField] = []


REFUSALS: dict[int | str, dict[str, Any]] = {
    family: {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
    }
    for family, description in (("4XX", "Refused"), ("5XX", "The service cannot"))
}


def problem(status: int, code: str, detail: str, *, errors: Sequence[Mapping[str, Any]] = ()) -> JSONResponse:
    """The answer for an error. `errors` lists what is wrong with each field, where fields were the matter."""
    content: dict[str, Any] = {
        "type": f"urn:scray:error:{code}",
        "title": PHRASES.get(status) or HTTPStatus(status).phrase,
        "status": int(status),
        "code": code,
        "detail": detail,
    }
    if errors:
        content["errors"] = [dict(error) for error in errors]
    passes = status == HTTPStatus.SERVICE_UNAVAILABLE or code in PASSING
    headers = {"Retry-After": str(1 if code in PASSING else RETRY_AFTER_SECONDS)} if passes else {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(content, status, headers=headers, media_type=MEDIA_TYPE)


def problem_of(error: ScrayError) -> JSONResponse:
    """The answer for one of our own errors."""
    status = STATUS_OF.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
    return problem(status, error.code, error.message)


def install(app: FastAPI) -> None:
    """Make every error of the application answer in this form."""
    app.add_exception_handler(ScrayError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OSError, _storage)
    app.add_exception_handler(UnicodeEncodeError, _no_text)
    app.add_exception_handler(Exception, _unforeseen)


def describe(app: FastAPI) -> None:
    """Put what REFUSALS refers to into the document of an application that has all its routes."""
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = {**schema.pop("$defs"), Problem.__name__: schema}
    app.openapi()["components"]["schemas"].update(parts)  # the application keeps its document


class OneShape:
    """Gives refusals in plain text, which are the framework's own, the shape of all others."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._app(scope, receive, _Reshaping(scope, receive, send))
        else:
            await self._app(scope, receive, send)


class _Reshaping:
    """What one request is answered through."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._plain: Message | None = None
        self._text = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._is_plain(message):
            self._plain = message
        elif self._plain is None:
            await self._send(message)
        else:
            self._text += message.get("body", b"")
            if not message.get("more_body"):
                await self._answer(self._plain)(self._scope, self._receive, self._send)

    def _is_plain(self, message: Message) -> bool:
        kind = Headers(raw=message["headers"]).get("content-type", "")
        return message["status"] >= HTTPStatus.BAD_REQUEST and kind.startswith("text/plain")

    def _answer(self, message: Message) -> JSONResponse:
        status = HTTPStatus(message["status"])
        answer = problem(status, code_of(status), self._text.decode(errors="replace") or f"{status.description}.")
        for name, value in Headers(raw=message["headers"]).items():
            if name not in {"content-type", "content-length"}:
                answer.headers[name] = value
        return answer


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ScrayError)
    if STATUS_OF.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        event(Action.REQUEST_FAILED, f"{request.method} {request.url.path}: {error.message}", code=error.code)
    return _hang_up(request, problem_of(error))


async def _storage(request: Request, error: Exception) -> JSONResponse:
    """What the data lie on: full, or out of order."""
    assert isinstance(error, OSError)
    return await _ours(request, DiskFull() if error.errno in FULL else StorageError())


async def _no_text(request: Request, _error: Exception) -> JSONResponse:
    """JSON can name half a character (a lone surrogate), which nothing can store."""
    return await _ours(request, InvalidField("A text of the request holds half a character (a lone surrogate)."))


def _hang_up(request: Request, answer: JSONResponse) -> JSONResponse:
    """End the connection where the rest of a refused body is not worth reading."""
    if getattr(request.state, "hang_up", bool)():
        answer.headers["Connection"] = "close"
    return answer


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [_field_error(found) for found in error.errors()]
    detail = "; ".join(f"{found['loc'][-1]}: {found['msg']}" for found in errors)
    return _hang_up(request, problem(HTTPStatus.UNPROCESSABLE_ENTITY, InvalidField.code, detail, errors=errors))


def _field_error(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is wrong with one field, without echoing what was sent."""
    if found["type"] == "json_invalid":
        return {"type": found["type"], "loc": ["body"], "msg": f"It is not JSON from character {found['loc'][-1]} on"}
    loc = list(found["loc"]) or ["body"]
    return {"type": found["type"], "loc": loc, "msg": found["msg"].removeprefix("Value error, ")}


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers, detail = dict(error.headers or {}), str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"There is nothing at {request.url.path[:200]}; /docs has everything that this service answers."
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _methods(request) or headers.get("Allow", "")
        detail = f"{request.method} is not for {request.url.path[:200]}; it takes {headers['Allow']}."
    answer = problem(error.status_code, code_of(error.status_code), detail)
    answer.headers.update(headers)
    return _hang_up(request, answer)


def _methods(request: Request) -> str:
    """What may be asked of the address of a request, whichever route has it."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    there = [methods for path, methods in paths.items() if compile_path(path)[0].match(request.url.path)]
    return ", ".join(sorted({method.upper() for methods in there for method in methods}))


def code_of(status: int) -> str:
    """The code of a refusal that has only a status."""
    internal = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return CODE_OF.get(status, ScrayError.code if internal else BadRequest.code)


async def _unforeseen(_request: Request, _error: Exception) -> JSONResponse:
    return problem(500, ScrayError.code, "An unexpected error occurred; the server's log says more.")
