"""A small store of traces: it takes what Envoys send by OTLP over HTTP, and keeps the newest spans in memory."""

from collections import deque

import grpc
from fastapi import FastAPI, HTTPException, Request, Response
from google.protobuf.message import DecodeError

from lab_services.bikeshare.health import answer_health

messages = grpc.protos("show_spans.proto")
MOST_SPANS = 10_000

app = FastAPI(title="The store of traces")
app.state.spans = deque(maxlen=MOST_SPANS)
answer_health(app)


@app.post("/v1/traces")
async def take(request: Request) -> Response:
    """Take the spans of an Envoy; an empty answer says that all of them were taken."""
    try:
        export = messages.Export.FromString(await request.body())
    except DecodeError as error:
        raise HTTPException(400, "this is no ExportTraceServiceRequest") from error
    for found in export.resource_spans:
        names = [one.value.text for one in found.resource.attributes if one.key == "service.name"]
        for span in (span for scope in found.scope_spans for span in scope.spans):
            app.state.spans.append((span, names[0] if names else "?"))
    return Response(media_type="application/x-protobuf")


@app.get("/traces/{trace_id}")
async def trace(trace_id: str) -> list[dict[str, str]]:
    """Return the spans of a trace, in the order in which they came."""
    return [
        {
            "service": service,
            "name": span.name,
            "kind": messages.Kind.Name(span.kind),
            "span": span.span_id.hex(),
            "parent": span.parent_span_id.hex(),
        }
        for span, service in app.state.spans
        if span.trace_id.hex() == trace_id
    ]
