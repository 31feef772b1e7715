"""TLS: the same questions over wss and https, and no trust in a certificate that nobody vouches for."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import patient
import pytest
from toy import PANDA, Running, observation, running

from kinema.runtime.client import RemotePolicy, ServerError
from kinema.serve.app import Listening

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(
    OPENSSL is None, reason="openssl, which makes the certificate, is not installed"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [
        str(OPENSSL),
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-days",
        "2",
    ]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def server(certificate: tuple[Path, Path]) -> Iterator[Running]:
    cert, key = certificate
    listening = Listening(port=0, tls_cert=cert, tls_key=key)
    with running(listening=listening) as found:
        yield found


def test_questions_are_answered(server: Running, certificate: tuple[Path, Path]) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    with RemotePolicy(f"wss://{server.host}", ssl=trusting, timeout_s=5.0) as policy:
        assert policy.infer(observation(PANDA, px=200), "panda").card == "panda"
    assert patient.get(f"https://{server.host}/healthz", verify=trusting).text == "OK\n"


def test_a_stranger_is_not_trusted(server: Running) -> None:
    with pytest.raises(ServerError, match=r"(?i)certificate"):
        RemotePolicy(f"wss://{server.host}").infer(observation(), "panda")


def test_plain_words_are_not_answered(server: Running) -> None:
    with pytest.raises(ServerError):
        RemotePolicy(server.ws, timeout_s=2.0).infer(observation(), "panda")
    with pytest.raises(httpx.HTTPError):
        patient.get(server.http + "/healthz")
