"""A service mesh of real Envoys: what they are told, who tells them, what they report.

`resources` writes Envoy's messages as dictionaries, `discovery` hands them out (`ads` does it over gRPC), `authority`
issues identities, `validate` asks Envoy what is wrong with them, `statistics` reads what Envoys have seen. Import from
these modules: this one is empty, so that whoever wants the facts alone does not load a web framework.
"""
