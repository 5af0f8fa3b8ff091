"""The two health routes of a service: live (the process answers) and ready (it can do its work)."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI

from lab_services.bikeshare.problems import Problem


def answer_health(app: FastAPI, ready: Callable[[], object] = lambda: None) -> None:
    """Add GET /health/live and /health/ready; `ready` raises when the service could not do its work now."""

    @app.head("/health/live", include_in_schema=False)
    @app.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @app.head("/health/ready", include_in_schema=False)
    @app.get("/health/ready")
    def answer_ready() -> dict[str, str]:
        try:
            ready()
        except Exception as error:
            raise Problem(503, "not ready", f"{type(error).__name__}: {error}") from error
        return {"status": "ready"}
