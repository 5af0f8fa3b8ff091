"""Who an Envoy is, and whom it believes: transport sockets of TLS, and the secrets for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .messages import Message, exact, extension, from_plane

IDENTITY, TRUST = "identity", "trust"  # the names under which an Envoy asks the plane for its secrets
_TLS = "envoy.extensions.transport_sockets.tls.v3."
_SOCKET = "envoy.transport_sockets.tls"


def downstream_tls(callers: Sequence[str] = (), **fields: Any) -> Message:
    """Return the transport socket of a Listener: mutual TLS, for callers with one of these SPIFFE names.

    Without `callers`: for everybody whose certificate comes from the trusted authority. What a caller may do is said by
    `rbac`, which can tell it 403; here an unknown caller is refused in the handshake.
    """
    return extension(
        _SOCKET,
        _TLS + "DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context=_context(callers),
        **fields,
    )


def upstream_tls(names: Sequence[str], *, grpc: bool = False, **fields: Any) -> Message:
    """Return the transport socket of a Cluster: mutual TLS with a replica that has one of these SPIFFE names.

    Without a name every service of the mesh could answer for every other.
    """
    protocols = {"alpn_protocols": ["h2"]} if grpc else {}
    return extension(_SOCKET, _TLS + "UpstreamTlsContext", common_tls_context=_context(names) | protocols, **fields)


def _context(names: Sequence[str]) -> Message:
    """Return CommonTlsContext; both limits are said, because the maximum of a client is TLS 1.2 by default."""
    if isinstance(names, str):  # each of its letters would be a name
        raise TypeError(f"names is a list: [{names!r}]")
    wanted = [{"san_type": "URI", "matcher": exact(name)} for name in names]
    trust: Message = {
        "default_validation_context": {"match_typed_subject_alt_names": wanted} if wanted else {},
        "validation_context_sds_secret_config": {"name": TRUST, "sds_config": from_plane()},
    }
    return {
        "tls_certificate_sds_secret_configs": [{"name": IDENTITY, "sds_config": from_plane()}],
        "combined_validation_context": trust,
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
    }


def identity_secret(certificate: str, private_key: str) -> Message:
    """Return Secret `identity`: a certificate and its key, both as PEM."""
    pair = {"certificate_chain": {"inline_string": certificate}, "private_key": {"inline_string": private_key}}
    return {"name": IDENTITY, "tls_certificate": pair}


def trust_secret(authorities: str) -> Message:
    """Return Secret `trust`: the certificates of those whose signature is believed, as PEM, one after the other."""
    return {"name": TRUST, "validation_context": {"trusted_ca": {"inline_string": authorities}}}
