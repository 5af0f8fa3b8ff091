"""The words of task 2.1: what riders send and what they are told; `refusals` writes the problems into the document."""

from typing import Annotated, Any, Literal, NotRequired

from fastapi import Body as InBody
from fastapi import Path
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from lab_services.bikeshare.problems import ID, Body

Json = dict[str, Any]
RideId = Annotated[str, Path(pattern=ID)]
Part = Literal["brake", "chain", "light", "saddle", "tyre"]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Severity = Annotated[int, Field(ge=1, le=3)]


class Start(Body):
    rider_id: str = Field(pattern=ID, examples=["ada"])
    station_id: str = Field(pattern=ID, examples=["A1"])


class End(Body):
    station_id: str = Field(pattern=ID, examples=["B2"])
    minutes: int = Field(ge=0, le=1440, examples=[12])


class Ride(BaseModel):
    ride_id: str
    rider_id: str
    bike_id: str | None
    from_station: str
    to_station: str | None
    state: Literal["accepted", "started", "ended", "refused"]
    minutes: int | None
    cents: int | None
    started_at: str
    ended_at: str | None


# Dictionaries, not models: here a field that was left out is not the same as one that is null.
class Report(TypedDict):
    """A rider's report of damage."""

    __pydantic_config__ = Body.model_config
    part: Part
    text: Text
    severity: Severity
    note: NotRequired[Text]


class Changes(TypedDict, total=False):
    """A JSON merge patch (RFC 7396): holds only the fields that were sent; null removes the note."""

    __pydantic_config__ = Body.model_config
    part: Part
    text: Text
    severity: Severity
    note: Text | None


MergePatch = Annotated[Changes, InBody(media_type="application/merge-patch+json")]


def without_nulls(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


class ProblemDocument(BaseModel):
    """What every refusal looks like (RFC 9457, section 3.1)."""

    type: str
    title: str
    status: int
    detail: str


TITLES = {
    400: "the body cannot be read",
    402: "the balance is too low",
    404: "there is no such thing",
    406: "the answer comes in no form that was asked for",
    409: "it does not fit the state of things",
    413: "the body is too large",
    415: "the body is no JSON",
    422: "a field is missing, unknown or wrong",
    503: "a service that is needed is away",
}
EVERYWHERE = (400, 406, 413, 415, 422, 503)
PROBLEM = {"application/problem+json": {"schema": ProblemDocument.model_json_schema()}}


def refusals(*statuses: int) -> Json:
    """Return `responses=` of a route: these problems, and those of every route."""
    return {status: {"description": TITLES[status], "content": PROBLEM} for status in sorted({*statuses, *EVERYWHERE})}
