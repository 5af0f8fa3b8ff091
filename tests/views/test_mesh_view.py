"""The picture of a mesh and its text twin."""

from __future__ import annotations

from lab_services.mesh.facts import ArrowFacts, CertificateFacts, HostFacts, MeshFacts, RefusalFacts, ReplicaFacts
from lab_services.views import MeshView
from tests.views.both_forms import html_cells, text_cells

V1 = ArrowFacts("rides", "pricing", "pricing_v1", 540, 0, 4, 0, ("v1",), (HostFacts(1, 544, 4, False),))
V2 = ArrowFacts("rides", "pricing", "pricing_v2", 60, 3, 0, 2, ("v2",), (HostFacts(2, 60, 3, True),))
IDLE = ArrowFacts("rides", "locks", "locks", 0, 0)
FACTS = MeshFacts(
    (
        ReplicaFacts("pricing", 1, "ready", "v1"),
        ReplicaFacts("pricing", 2, "draining", "v2"),
        ReplicaFacts("rides", 1, "ready"),
    ),
    (IDLE, V1, V2),
    (
        CertificateFacts("pricing-1", "spiffe://bikeshare.example/pricing", "1", 3000.4, 3600),
        CertificateFacts("pricing-2", "spiffe://bikeshare.example/pricing", "2", -5, 3600),
        CertificateFacts("rides-1", "spiffe://bikeshare.example/rides", "3", 100, 3600),
    ),
    (RefusalFacts("rides-1", "routes", 1, True, "unknown cluster"), RefusalFacts("rides-1", "clusters", 2, False)),
)
TEXT = """\
The mesh: 3 services, 3 arrows, 1 replica spared, 1 configuration refused
  locks: not in the mesh
  pricing: replica 1 (v1) ready; replica 2 (v2) draining, spared by rides; certificate expired; certificate valid
  rides: replica 1 ready; certificate ends soon
  rides -> locks: 0 calls, 0 errors
  rides -> pricing: v1: 540 calls (90.0 %), 0 errors, 4 retried
  rides -> pricing: v2: 60 calls (10.0 %), 3 errors (5.0 %), 2 refused by the breaker
  rides-1 has refused routes 1 time and lives by the version before: unknown cluster
  rides-1 has refused clusters 2 times before"""


def test_the_text_says_everything() -> None:
    """Shares, errors, retries, spared replicas, refusals and the state of certificates, each in words."""
    assert repr(MeshView("The mesh", FACTS)) == TEXT


def test_the_picture_has_the_arrows_of_the_text() -> None:
    """A node a service, an arrow a cluster, dashed where nobody has called; the twin is the description."""
    lines = [line.strip() for line in MeshView("The mesh", FACTS).mermaid().split("\n")]
    assert [line for line in lines if "->" in line and line.startswith("s")] == [
        's2 -.->|"0 calls, 0 errors"| s0',
        's2 -->|"v1: 540 calls (90.0 \uff05), 0 errors, 4 retried"| s1',
        's2 -->|"v2: 60 calls (10.0 \uff05), 3 errors (5.0 \uff05), 2 refused by the breaker"| s1',
    ]
    assert any(line.startswith('s1["pricing<br/>replica 1 (v1) ready<br/>replica 2 (v2) draining') for line in lines)
    assert sum(line.startswith("rides -\u203a") for line in lines) == 3


def test_both_tables_say_the_same_in_both_forms() -> None:
    """Attempts by replica, and certificates to the second."""
    view = MeshView("The mesh", FACTS)
    for table in (view.calls(), view.certificates()):
        assert html_cells(table) == text_cells(table)
    assert text_cells(view.calls())[2] == ["rides", "pricing", "2", "60", "3", "spared"]
    assert text_cells(view.certificates())[1][2:] == ["3,000", "3,600", "valid"]


def test_a_mesh_without_sidecars_says_so() -> None:
    """Nothing is drawn where nothing runs."""
    assert repr(MeshView("The mesh", MeshFacts())) == "The mesh: no sidecar runs"
    assert MeshView("The mesh", MeshFacts())._repr_mimebundle_().keys() == {"text/plain"}
