"""What plays login.microsoftonline.com for service principals: an authority over TLS, with a certificate of its own."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "prefect-registry tests")])


def make_certificate(path: Path) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    usage |= {"crl_sign": False, "encipher_only": False, "decipher_only": False}
    certificate = (
        x509.CertificateBuilder(_NAME, _NAME, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return path


class Authority:
    """Gives tokens to one service principal.

    Attributes:
        url: Where it listens.
        token: The token that it gives.
        asked: The secrets that it was asked with.
    """

    def __init__(self, url: str, tenant: str, client: str, secret: str) -> None:
        self.url, self.tenant, self.client, self.secret = url, tenant, client, secret
        self.asked: list[str] = []
        now = int(time.time())
        claims = {
            "iss": f"https://sts.windows.net/{tenant}/", "aud": "https://storage.azure.com", "appid": client,
            "iat": now, "nbf": now, "exp": now + 3600,
        }  # fmt: skip
        parts = (json.dumps({"alg": "RS256", "typ": "JWT"}), json.dumps(claims), "a signature that nobody checks")
        self.token = ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The status and document for a request, as Entra ID words them."""
        if path != f"/{self.tenant}/oauth2/v2.0/token" or form.get("client_id") != self.client:
            return 400, {"error": "invalid_request", "error_description": f"AADSTS90002: no such tenant: {path}"}
        self.asked.append(form["client_secret"])
        if form["client_secret"] != self.secret:
            said = "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the "
            said += f"client secret value, not the client secret ID, for a secret added to app '{self.client}'."
            return 401, {"error": "invalid_client", "error_description": said, "error_codes": [7000215]}
        return 200, {"token_type": "Bearer", "expires_in": 3599, "access_token": self.token}


@contextmanager
def authority(certificate: Path, tenant: str, client: str, secret: str) -> Iterator[Authority]:
    """An authority that listens on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(sent).items()}
            status, document = found.answer(self.path, form)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    found = Authority(f"https://127.0.0.1:{server.server_address[1]}", tenant, client, secret)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
