"""Routes: to which version of pricing a call of rides goes. You write data; routes_plane.py tells it to Envoy.

rides calls http://pricing and knows of no versions. All its calls pass the Envoy beside it, which for each call to
pricing reads ROUTES from the top. A route takes a call when its `when` fits (the method and each header that it names;
without `when`: each call). The first route that takes the call decides, and no other is looked at. A route leads to one
cluster, or to several by weight. A cluster is a name in VERSIONS: all replicas of pricing that carry these labels
(lab.toml: {"version": "v1"}, v2, v3); with {} it would be all replicas of all versions.

rides reads by GET /quote, and writes what a ride has cost by POST or PUT /receipts, into one book that all versions
share. (Today's pricing refuses the writing calls; the routes are to be ready before they come.) Where a call is about a
ride, the header x-ride names it. A tester's call has the header x-pricing with exactly the value `v2`. With another
value (V2, v22, v1, nothing), or without the header, it is a rider's call.

| calls          | what becomes of them                                                                            |
| -------------- | ----------------------------------------------------------------------------------------------- |
| testers'       | all to v2, whatever the method, the ride or V2_PERCENT                                          |
| riders'        | V2_PERCENT of a hundred to v2, the others to v1. It is a whole number from 0 to 100, and the    |
|                | only thing that is changed to roll v2 out (100) or back (0)                                     |
| riders', with  | as long as V2_PERCENT stays, all with the same value go to the same version, reading or         |
| x-ride         | writing, on every connection. Without x-ride chance decides, for each call anew                 |
| all GETs       | when one fails (any 5xx, or its connection breaks) it is sent a second time, once, to the same  |
|                | version. When that fails, too, the caller gets the failure                                      |
| riders' GETs   | v3, the shadow, gets a copy of each. Nobody gets its answers, or waits for them                 |
| POST, PUT, ... | riders' and testers': sent once, neither a second time nor as a copy, because each writes       |

The clusters are called pricing_v1, pricing_v2 and pricing_shadow (v3), and each has the replicas of its own version
alone: Envoy counts calls and errors for each cluster, so that a bad version is seen as such.

What you write it with; each returns a dictionary, and Envoy gets it as it is (print one):

* `route("pricing_v1")` leads each call to this cluster.
* `route({"pricing_v1": 70, "pricing_v2": 30})` leads it to one of these, by weight; chance decides, for each call anew.
* `route({...}, by_hash=True, hash_policy=hash_on_header("x-rider"))` too, but the value of the header decides
  (without by_hash=True it does not). Two routes with equal weights decide alike; a call without the header is left to
  chance.
* `route(..., when=match(method="PUT", headers={"x-rider": "ada"}))` takes the calls with this method and exactly this
  value. Without `method=` the method, without `headers=` the headers do not matter.
* `route(..., retry_policy=retry_policy("5xx", 3))` sends a call that fails (5xx, or its connection breaks) up to 3
  times more, to the same cluster. Envoy passes over a condition that it does not know, so spell it right.
* `route(..., request_mirror_policies=[mirror("pricing_v1")])` sends a copy of each call that it takes to this cluster.

To try it: open_lab("06_mesh", shape="routes"). Save the file, and Envoy obeys at once. What it refuses you read in its
own words, with the line that is meant, in lab.start(), or while it runs in lab.logs("plane"). It keeps what it had.
"""

from lab_services.mesh.resources import hash_on_header, match, mirror, retry_policy, route

V2_PERCENT = 10

# --- your turn 6.2 ---
VERSIONS = {
    "pricing_v1": {"version": "v1"},
    "pricing_v2": {"version": "v2"},
    "pricing_shadow": {"version": "v3"},
}
SHARES = {"pricing_v1": 100 - V2_PERCENT, "pricing_v2": V2_PERCENT}  # one number: one change rolls v2 back
RIDE = {"by_hash": True, "hash_policy": hash_on_header("x-ride")}  # quote and receipt of a ride: one version
AGAIN = retry_policy("5xx", 1)
COPY = [mirror("pricing_shadow")]
TESTER = {"x-pricing": "v2"}

# The first that fits takes the call: the narrow ones stand above the wide ones. Only a GET may happen twice.
ROUTES = [
    route("pricing_v2", when=match(method="GET", headers=TESTER), retry_policy=AGAIN),
    route("pricing_v2", when=match(headers=TESTER)),
    route(SHARES, **RIDE, when=match(method="GET"), retry_policy=AGAIN, request_mirror_policies=COPY),
    route(SHARES, **RIDE),
]
# --- end 6.2 ---
