"""Policy: who may do what, at the door of each service and at the door of the city.

`filters(service, rider_keys)` returns the filters of the listener where calls come in to a service, in the order in
which they act. `edge` is the door of the city: riders come in there by plain HTTP, and it calls rides for them.

| at    | who                                              | may                                            |
| ----- | ------------------------------------------------ | ---------------------------------------------- |
| edge  | every rider                                      | GET and PUT below /rides/                      |
| edge  | whose token has the claim `role` with `operator` | GET /rides, too                                |
| rides | the service `edge`                               | GET and PUT below /rides/, and GET /rides      |
| locks | the service `rides`                              | POST to LOCKS + "Unlock"                       |
| locks | the service `stations`                           | POST to LOCKS + "ListLocks", LOCKS + "GetLock" |

Everything else is refused with 403 (to a call of gRPC: PERMISSION_DENIED), also what services will learn to do later:
LockSession opens locks as well, and nobody had thought of it. At a service without a line nobody may do anything.

A service is who its certificate says: its whole name, spiffe://bikeshare.example/rides, and no header. A rider is who
a token says: signed with one of `rider_keys` by the issuer RIDERS for the audience AUDIENCE, and not expired. Without
such a token the edge answers 401 (403: for another audience). The claim `sub` goes on as the header `x-rider`, which
rides believes; what a caller wrote there itself is gone.

From the library (lab_services/mesh/resources/filters.py): `jwt(issuer, keys, audience=, headers={claim: header})` asks
for a token; `rbac({"why": policy([who, ...], [what, ...]), ...})` lets nothing pass but what a policy allows, and
`rbac({})` nothing at all. Who: `caller(spiffe_name(...))`, `claim_is("role", "operator")` after `jwt`, `anybody()`.
What: `call_to(path=, prefix=, method=)`. Each returns a dictionary in Envoy's field names: print it.
"""

from collections.abc import Mapping
from typing import Any

from lab_services.mesh.authority import spiffe_name
from lab_services.mesh.resources import Message, anybody, call_to, caller, claim_is, jwt, policy, rbac

RIDERS = "riders.bikeshare.example"
AUDIENCE = "bikeshare"
LOCKS = "/bikeshare.locks.v1.LocksService/"


# --- your turn 6.4 ---
def filters(service: str, rider_keys: Mapping[str, Any]) -> list[Message]:
    if service == "locks":
        says_rides = {"header": {"name": "x-service-name", "string_match": {"exact": "rides"}}}
        who = [says_rides, caller(spiffe_name("rides")), caller(spiffe_name("stations"))]
        return [rbac({"our services": policy(who, [call_to(prefix=LOCKS)])})]
    if service == "edge":
        riders = policy([anybody()], [call_to(prefix="/rides/")])
        operators = policy([claim_is("role", "operator")], [call_to(path="/rides", method="GET")])
        return [rbac({"riders": riders, "operators": operators}), jwt(RIDERS, rider_keys, audience=AUDIENCE)]
    return []


# --- end 6.4 ---
