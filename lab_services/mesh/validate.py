"""Ask Envoy itself what is wrong with a configuration, before it goes out: `envoy --mode validate`.

It takes a twentieth of a second, opens no port and knows no plane. So what the plane would hand out stands in the file:
the endpoints in their clusters, the routes each in a listener of its own. That is stricter than a plane: a route to a
cluster that does not exist is refused here, and answered with 503 there.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lab_services.errors import EnvoyRefuses
from lab_services.servers import envoy

from .complaint import Complaint, read_complaint, readable
from .resources.clusters import static_cluster
from .resources.listeners import http, listener
from .resources.messages import PLANE_CLUSTER, Message, Resources, loopback

VALIDATE_SECONDS = 30
_INSIDE_ROUTES = ".filter_chains[0].filters[0].typed_config.<any>.route_config"


def validate(resources: Resources, files: Sequence[Path] = ()) -> None:
    """Return when Envoy would take these resources.

    `files` are the learner's: the error names the line that most likely wrote the field.

    Raises:
        EnvoyRefuses: in Envoy's own words, with the field and, where one of `files` has it, file and line.
    """
    complaint = _asked(static_form(resources))
    if complaint is None:
        return
    field = _field(complaint, resources)
    line = complaint.line_in(files)
    raise EnvoyRefuses(
        "Envoy refuses this configuration",
        where=f"{line}: {field}" if line and field else line or field,
        evidence=complaint.message,
        next_step=f"change it in {line or 'the file that writes it'} and save; an Envoy that runs keeps what it has",
    )


def static_form(resources: Resources) -> Message:
    """Return a bootstrap that holds the resources itself; those in lists keep their numbers."""
    hosts = {one.get("cluster_name"): one for one in resources.endpoints}
    routes = [listener(f"routes {at}", 0, http("routes", one)) for at, one in enumerate(resources.routes)]
    return {
        "node": {"id": "validate", "cluster": "validate"},
        "static_resources": {
            "listeners": [*resources.listeners, *routes],
            "clusters": [
                *(_with_hosts(one, hosts.get(one.get("name"))) for one in resources.clusters),
                static_cluster(PLANE_CLUSTER, [loopback(1)]),
            ],
        },
    }


def _with_hosts(cluster: Message, hosts: Message | None) -> Message:
    if cluster.get("type") != "EDS":
        return cluster
    rest = {name: value for name, value in cluster.items() if name != "eds_cluster_config"}
    return rest | {"type": "STATIC", "load_assignment": hosts or {"cluster_name": cluster.get("name")}}


def _asked(config: Message) -> Complaint | None:
    with tempfile.TemporaryDirectory(prefix="validate") as folder:
        file = Path(folder) / "envoy.json"
        file.write_text(json.dumps(config))
        command = [str(envoy.find()), "--mode", "validate", "-c", str(file), "--disable-hot-restart", "-l", "error"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=VALIDATE_SECONDS)
    return None if done.returncode == 0 else read_complaint(done.stderr)


def _field(complaint: Complaint, resources: Resources) -> str:
    """Return the field in the learner's terms: routes["outbound"].virtual_hosts["pricing"].routes[0].route.time_out."""
    if not complaint.path.startswith("static_resources"):
        return _blamed(complaint, resources)
    path = complaint.path
    for at in range(len(resources.routes)):
        path = path.replace(
            f"static_resources.listeners[{len(resources.listeners) + at}]{_INSIDE_ROUTES}", f"routes[{at}]"
        )
    return readable(path, static_form(resources) | vars(resources) | {"routes": list(resources.routes)})


def _blamed(complaint: Complaint, resources: Resources) -> str:
    """Find the resource that is refused alone too, when Envoy says only what is wrong and not where."""
    path = complaint.path.removeprefix("listeners").removeprefix("clusters")
    for label, part in _alone(resources):
        if _asked(static_form(part)) is not None:
            inner = complaint.path if not path.startswith("[") else path.partition("].")[2]
            return ".".join(filter(None, [label, inner.removeprefix("route_config.")]))
    return complaint.path


def _alone(resources: Resources) -> Iterator[tuple[str, Resources]]:
    for one in resources.clusters:
        yield f'clusters["{one.get("name")}"]', replace(resources, clusters=[one], listeners=[], routes=[])
    for one in resources.routes:
        yield f'routes["{one.get("name")}"]', replace(resources, routes=[one], listeners=[])
    for one in resources.listeners:
        yield f'listeners["{one.get("name")}"]', replace(resources, routes=[], listeners=[one])
