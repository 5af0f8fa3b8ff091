"""The gate: sidecars show it each call for a bargain, before the application sees it (Envoy's external authorization).

Any answer but 200 is the caller's answer. With 200 the headers that the sidecar was told to take go on to the
application: here x-rider, whatever the caller has written there itself.
"""

from fastapi import FastAPI, Header, HTTPException, Response

from lab_services.bikeshare.health import answer_health

TICKETS = {"t-1": "ada"}

app = FastAPI(title="The gate")
answer_health(app)


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def decide(path: str, response: Response, x_ticket: str | None = Header(default=None)) -> dict[str, str]:
    """Let through who has a ticket, and say whose it is."""
    if x_ticket not in TICKETS:
        raise HTTPException(401, f"/{path} needs a ticket")
    response.headers["x-rider"] = TICKETS[x_ticket]
    return {"rider": TICKETS[x_ticket]}
