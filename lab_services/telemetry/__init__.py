"""Telemetry of the city: what its services say of themselves, where it is kept, how it is read.

`spans` holds the facts, `reading` asks a trace store (ours or a real Jaeger) for them. The store itself: `otlp_body`,
`otlp_json` and `otlp_rows` take in what exporters send, `span_store` keeps it, `span_search` and `jaeger_json` answer,
`otlp_routes` and `jaeger_routes` are its addresses. Import from these modules: this one is empty, so that whoever wants
the facts alone loads neither protobuf nor a web framework.
"""
