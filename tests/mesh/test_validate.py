"""A configuration that Envoy refuses is answered with its words, the field, and the learner's line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab_services.errors import EnvoyRefuses
from lab_services.mesh.registry import Workload
from lab_services.mesh.resources import (
    OUTBOUND,
    Message,
    Resources,
    call_to,
    caller,
    claim_is,
    cluster,
    external_authorization,
    fault_by_header,
    health_check,
    jwt,
    listener_inbound,
    local_rate_limit,
    not_in_the_mesh,
    outlier_detection,
    policy,
    rbac,
    route,
    route_configuration,
    tracing,
    virtual_host,
)
from lab_services.mesh.sidecars import sidecar
from lab_services.mesh.tokens import TokenIssuer
from lab_services.mesh.validate import validate

RIDES = Workload("rides", 1, "rides-1", "http", "ready", 1, 2, 3, {"locks": 4}, "app", ("pricing", "locks"))
PRICING = Workload("pricing", 1, "pricing-1", "http", "ready", 5, 6)
LOCKS = Workload("locks", 1, "locks-1", "grpc", "ready", 7, 8)
GOOD = sidecar(RIDES, (LOCKS, PRICING, RIDES), secure=True)


def routes(*found: Message) -> dict[str, Any]:
    """Return the resources that replace the routes of the outbound listener."""
    return {"routes": [route_configuration(OUTBOUND, found)]}


def inbound(*filters: Message) -> dict[str, Any]:
    """Return the resources that replace the inbound listener."""
    return {"listeners": [listener_inbound(RIDES, filters=filters), *GOOD.listeners[1:]]}


def clusters(**fields: Any) -> dict[str, Any]:
    """Return the resources that give the cluster pricing these fields."""
    return {"clusters": [one | fields if one["name"] == "pricing" else one for one in GOOD.clusters]}


def test_a_right_configuration_passes() -> None:
    """The plainest sidecar, and one with everything that the functions can write, are no error."""
    validate(GOOD)
    keys = TokenIssuer("riders").keys()
    door = jwt("riders", keys, audience="city", headers={"sub": "x-rider"}, open_to_all=["/map"])
    rule = policy([caller("spiffe://x/y"), claim_is("role", "admin")], [call_to(prefix="/a", method="GET"), call_to()])
    doors = [fault_by_header(10), local_rate_limit(5), door, rbac({"rule": rule}), external_authorization("pricing")]
    everything = listener_inbound(RIDES, filters=doors, tracing=tracing("rides", "pricing"))
    checked = clusters(health_checks=[health_check()], outlier_detection=outlier_detection())
    validate(replace(GOOD, listeners=[everything, *GOOD.listeners[1:]], **checked))


WRONG = {
    "a misspelt field of a cluster": (
        clusters(lb_polycy="RANDOM"),
        'clusters["pricing"].lb_polycy',
        "no such field: 'lb_polycy'",
    ),
    "a value that does not exist": (clusters(lb_policy="FAIR"), 'clusters["pricing"]', "unknown enum value: 'FAIR'"),
    "a number that is too large": (
        clusters(outlier_detection=outlier_detection(max_ejection_percent=300)),
        'clusters["pricing"].outlier_detection.max_ejection_percent',
        "less than or equal to 100",
    ),
    "a misspelt field of a route": (
        routes(virtual_host("pricing", [route("pricing", time_out="1s")])),
        'routes["outbound"].virtual_hosts["pricing"].routes[0].route.time_out',
        "no such field: 'time_out'",
    ),
    "a time without its unit": (
        routes(virtual_host("pricing", [route("pricing", timeout="1")])),
        'routes["outbound"].virtual_hosts["pricing"].routes[0].route.timeout',
        "duration must end with a single 's'",
    ),
    "a cluster that is not there": (
        routes(virtual_host("pricing", [route("prizing")])),
        'routes["outbound"]',
        "unknown cluster 'prizing'",
    ),
    "weights of nothing": (
        routes(virtual_host("pricing", [route({"pricing": 0})])),
        'routes["outbound"]',
        "Sum of weights",
    ),
    "two hosts for every name": (
        routes(not_in_the_mesh(), not_in_the_mesh() | {"name": "again"}),
        'routes["outbound"]',
        "Only a single wildcard domain",
    ),
    "a rule for nobody": (
        inbound(rbac({"x": policy([], [call_to()])})),
        'listeners["inbound"].rules.policies[x].principals',
        "at least 1 item",
    ),
    "a limit of no calls": (
        inbound(local_rate_limit(0)),
        'listeners["inbound"].token_bucket.tokens_per_fill',
        "greater than 0",
    ),
}


@pytest.mark.parametrize("fault", sorted(WRONG))
def test_a_wrong_field_is_named(fault: str) -> None:
    """Four parts: Envoy refuses, which field, in its own words, what to do; no copy of the configuration."""
    wrong, field, words = WRONG[fault]
    with pytest.raises(EnvoyRefuses) as refused:
        validate(replace(GOOD, **wrong))
    error = refused.value
    assert error.where == field and words in error.evidence
    assert error.what and error.next_step and len(error.evidence) < 600 and "\n" not in error.evidence


def test_the_line_of_the_learner_is_found(tmp_path: Path) -> None:
    """The file and the line in which the word that Envoy names stands; words in comments do not count."""
    (tmp_path / "other.py").write_text("# time_out\n")
    (tmp_path / "routes.py").write_text('# time_out\nHOSTS = [\n    route("pricing", time_out="1s"),\n]\n')
    files = [tmp_path / "other.py", tmp_path / "routes.py"]
    with pytest.raises(EnvoyRefuses) as refused:
        validate(replace(GOOD, **routes(virtual_host("pricing", [route("pricing", time_out="1s")]))), files)
    assert (
        refused.value.where.startswith('routes.py:3: routes["outbound"]') and "routes.py:3" in refused.value.next_step
    )


def test_a_docstring_has_written_nothing(tmp_path: Path) -> None:
    """Envoy's "must end with a single 's'" leads to the timeout, and not to a letter, nor to what a docstring says."""
    file = tmp_path / "routes.py"
    file.write_text('"""An s is not it, nor is\n\ntimeout.\n"""\n\nHOSTS = [route("pricing", timeout="1")]\n')
    with pytest.raises(EnvoyRefuses, match="refuses") as refused:
        validate(replace(GOOD, **routes(virtual_host("pricing", [route("pricing", timeout="1")]))), [file])
    assert refused.value.where.startswith('routes.py:6: routes["outbound"]')


@pytest.mark.parametrize("wrong", [{"clusters": [{"name": ["a"]}]}, {"routes": [{}]}, {"endpoints": ["pricing"]}])
def test_what_has_no_name_is_no_resource(wrong: dict[str, Any]) -> None:
    """A message without a name, or something else than a dictionary, is refused when it is put together."""
    with pytest.raises(TypeError, match="is no dictionary with a"):
        Resources(**wrong)


def test_an_empty_name_is_for_envoy_to_refuse() -> None:
    """Only Envoy knows its own rules: a cluster without a name is refused in its words."""
    with pytest.raises(EnvoyRefuses, match="refuses"):
        validate(Resources(clusters=[cluster("")]))
