"""What a service refuses, and how: strict ids and bodies, and every error as a problem document (RFC 9457).

Use it so: `raise Problem(409, "no bike", "station A1 is empty")`.
"""

from __future__ import annotations

import sqlite3
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

PROBLEM_TYPES = "https://bikeshare.example/problems/"
ID = r"^[A-Za-z0-9._-]{1,64}$"
Id = Annotated[str, Path(pattern=ID)]


class Body(BaseModel):
    """A request body that takes no "5" for 5, no 5.0 for 5, and no field that is not in the contract."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Problem(Exception):
    """Refuse a request: the answer is the problem document of these fields; `extra` become its own members."""

    def __init__(self, status: int, title: str, detail: str, **extra: Any) -> None:
        self.status, self.title, self.detail, self.extra = status, title, detail, extra
        super().__init__(detail)


def answer(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    """Turn a problem into its HTTP answer; a title that only repeats the status has the type about:blank."""
    plain = problem.title == HTTPStatus(problem.status).phrase
    document = {
        "type": "about:blank" if plain else PROBLEM_TYPES + problem.title.replace(" ", "-"),
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **problem.extra,
    }
    return JSONResponse(document, problem.status, headers, media_type="application/problem+json")


def speak_problems(app: FastAPI) -> None:
    """Make every error of this app a problem document, also those that FastAPI raises by itself."""
    app.add_exception_handler(Problem, _refused)
    app.add_exception_handler(RequestValidationError, _bad_input)
    app.add_exception_handler(HTTPException, _no_such_route)
    app.add_exception_handler(sqlite3.DatabaseError, _database_in_trouble)
    app.add_exception_handler(Exception, _our_mistake)


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return answer(error)


def _bad_input(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = list(error.errors())
    if any(fault["type"] == "json_invalid" for fault in faults):
        return answer(Problem(400, "not JSON", "the body is not JSON", errors=[{"field": "body"}]))
    # Only the name of a field and the rule it broke: echoing the value would echo 8 kB, or half a character.
    errors = [{"field": str(fault["loc"][-1]), "message": str(fault["msg"])} for fault in faults]
    detail = "; ".join(f"{each['field']}: {each['message']}" for each in errors)
    return answer(Problem(422, "bad input", detail, errors=errors))


def _no_such_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    headers = dict(error.headers) if error.headers else None
    return answer(Problem(error.status_code, title, f"{request.method}: {error.detail}"), headers)


def _database_in_trouble(request: Request, error: Exception) -> JSONResponse:
    return answer(Problem(503, "database in trouble", str(error)))


def _our_mistake(request: Request, error: Exception) -> JSONResponse:
    problem = Problem(500, HTTPStatus(500).phrase, "a mistake in this service; its log has the details")
    return answer(problem, {"Connection": "close"})  # the server hangs up behind it (RFC 9112 section 9.6): say so
