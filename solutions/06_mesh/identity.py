"""Identity: both ends of every call between two services prove who they are (mutual TLS).

A certificate of this city holds one name: `spiffe_name("locks")`, that is spiffe://bikeshare.example/locks. The plane
(identity_plane.py) asks this file, once a second and whenever something changes, and tells the Envoys what it returns:

| function                     | for                                        | returns                                  |
| ---------------------------- | ------------------------------------------ | ---------------------------------------- |
| `inbound_tls(service)`       | where others call the sidecar of a service | the TLS of that listener; None: no TLS   |
| `outbound_tls(callee, grpc)` | each service that an Envoy calls           | the TLS of that cluster; None: no TLS    |
| `secrets(service, keys)`     | every Envoy, that of the edge too          | two Secrets: who it is, whom it believes |

What must hold, whoever tries:

| who                                                                                 | gets                           |
| ----------------------------------------------------------------------------------- | ------------------------------ |
| calls a sidecar in plain text or without a certificate                              | no answer                      |
| calls it with a certificate that has expired, or that a stranger's authority signed | no answer                      |
| calls it with a certificate of the city, whatever its name                          | in: identity_policy.py decides |
| is called as locks and shows the certificate of another service, also `locks-old`   | nothing of the call            |
| is called as locks and shows an expired or a stranger's certificate, or none        | nothing of the call            |
| is called as locks and shows the certificate of locks                               | the call and the caller's name |

Riders come in at the edge by plain HTTP, so nobody asks `inbound_tls` about it. Certificates live for
CERTIFICATE_SECONDS at most, which this lab sets to 600; they are dated back by 60 more.
`authority.identity(service, CERTIFICATE_SECONDS)` returns one, the same one until half of its life is over. They come
from `keys.current`. While another authority takes over, `keys.previous` and `keys.next` are authorities as well, else
None (identity_authorities.py has the steps). Envoys hear of a step one after the other, and no call may fail meanwhile:
the next authority is believed before it signs, the previous one for as long as it is there, and not any longer.

From the library (lab_services/mesh/resources/security.py and lab_services/mesh/authority.py): `downstream_tls()` is
the TLS of a listener, `upstream_tls([name, ...], grpc=grpc)` that of a cluster whose replicas have one of these names;
`certificate.secret()` says who an Envoy is, `trust_secret(bundle(authority, ...))` whom it believes. Each returns a
dictionary in Envoy's field names: print it.
"""

import os

from identity_authorities import Authorities

from lab_services.mesh.authority import bundle, spiffe_name
from lab_services.mesh.resources import Message, downstream_tls, trust_secret, upstream_tls

CERTIFICATE_SECONDS = float(os.environ.get("CERTIFICATE_SECONDS", "3600"))


# --- your turn 6.4 ---
def inbound_tls(service: str) -> Message | None:
    # Any name of the city gets in: what it may do is for the policies, which can answer 403.
    return downstream_tls()


def outbound_tls(callee: str, grpc: bool) -> Message | None:
    # One whole name. Without it, whoever gets hold of any certificate of the city can pose as the locks.
    return upstream_tls([spiffe_name(callee)], grpc=grpc)


def secrets(service: str, keys: Authorities) -> list[Message]:
    certificate = keys.current.identity(service, CERTIFICATE_SECONDS)
    # All that are there: an Envoy that has heard of a step meets one that has not, and both must go on talking.
    trusted = [authority for authority in (keys.previous, keys.current, keys.next) if authority]
    return [certificate.secret(), trust_secret(bundle(*trusted))]


# --- end 6.4 ---
