"""Broken DKIM configurations, each with every line that `check` says about it; and one that is whole."""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

HEAD = "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n"

BROKEN = {
    "no key": (
        HEAD + "dkim_selector = s1\n",
        ["4: [notification] dkim_selector: there is no dkim_key to sign with: set it too, or remove dkim_selector"],
    ),
    "no selector": (
        HEAD + "dkim_key_file = dkim.pem\n",
        ["4: [notification] dkim_key: there is no dkim_selector to sign with: set it too, or remove dkim_key"],
    ),
    "a domain alone": (
        HEAD + "dkim_domain = example.com\n",
        ["4: [notification] dkim_domain: nothing is signed without dkim_selector and dkim_key_file"],
    ),
    "no key in the file": (
        HEAD + "dkim_selector = s1\ndkim_key_file = nonsense.pem\n",
        ["5: [notification] dkim_key: the private key can not be read: it must be PEM, and without a pass phrase"],
    ),
    "a selector with a blank": (
        HEAD + "dkim_selector = s 1\ndkim_key_file = dkim.pem\n",
        [
            "4: [notification] dkim_selector: 's 1' is no selector: write the name in front of ._domainkey, letters and digits"
        ],
    ),
    "no such file": (
        HEAD + "dkim_selector = s1\ndkim_key_file = gone.pem\n",
        ["5: [notification] dkim_key_file: {folder}/gone.pem: No such file or directory: create it, with mode 600"],
    ),
}


@pytest.fixture
def keys(tmp_path):
    for name, bits in (("dkim.pem", 2048), ("weak.pem", 1024)):
        private = rsa.generate_private_key(65537, bits)
        (tmp_path / name).write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "nonsense.pem").write_text("nonsense\n")
    for path in tmp_path.glob("*.pem"):
        path.chmod(0o600)


@pytest.mark.parametrize("what", BROKEN)
def test_broken(checked, keys, tmp_path, what):
    text, faults = BROKEN[what]
    found = checked(text)
    assert found.status == 78
    assert found.faults == [fault.replace("{folder}", str(tmp_path)) for fault in faults]


def test_whole_and_weak(checked, keys):
    whole = checked(
        HEAD
        + "dkim_selector = s1\ndkim_key_file = dkim.pem\n[notification:x]\nmatch = project: X\ndkim_domain = example.net\n"
    )
    assert (whole.status, whole.faults) == (0, [])
    weak = checked(HEAD + "dkim_selector = s1\ndkim_key_file = weak.pem\n")
    assert weak.status == 0
    assert any("an RSA key of 1024 bits is weak: make one of 2048" in line for line in weak.warnings)
