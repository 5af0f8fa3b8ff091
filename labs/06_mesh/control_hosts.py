"""The registry as Envoy's resources: what one sidecar is to have, for the control plane to hand out.

For `rides-1`, which calls pricing, these are

    listeners  inbound, where others reach rides-1, and outbound, the HTTP proxy of its application
    clusters   app (the application itself), and pricing: by EDS, so the Envoy asks for its hosts by the name pricing
    routes     OUTBOUND: calls to http://pricing go to the cluster pricing, calls to any other name get 502
    endpoints  pricing: the hosts to which a call may go now; each replica is reached at its sidecar, port `inbound`

and so for every name in `node.calls`. A replica's `state` is "ready", "draining" or "down". One that is draining
finishes the calls that it has, and gets no new one; one that is down gets none. A service of which no replica is ready
still has its resources, with no hosts: a call to it is answered with 503 at once.

`workloads` are all replicas in the mesh now. The function is called for every node whenever one of them has changed.
"""

from lab_services.mesh import resources as envoy
from lab_services.mesh.registry import Workload, of_service
from lab_services.mesh.resources import OUTBOUND, Message, Resources, loopback


# --- your turn 6.1 ---
def resources(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
    def cluster_to(service: str) -> Message:
        return envoy.static_cluster(service, [loopback(one.inbound) for one in of_service(workloads, service)])

    virtual_hosts = [envoy.virtual_host(name, [envoy.route(name)]) for name in node.calls]
    return Resources(
        listeners=[envoy.listener_inbound(node), envoy.listener_outbound(node)],
        clusters=[envoy.app_cluster(node), *(cluster_to(name) for name in node.calls)],
        routes=[envoy.route_configuration(OUTBOUND, [*virtual_hosts, envoy.not_in_the_mesh()])],
    )


# --- end 6.1 ---
