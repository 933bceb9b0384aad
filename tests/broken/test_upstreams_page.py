"""docs/upstreams.md: every configuration in it is one that `check` accepts, word for word; every link in it leads somewhere."""

import datetime
import json
import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from relay import config
from relay.loaded import routes_of, upstreams_of
from relay.oauth import Grant

PAGE = Path(__file__).resolve().parents[2] / "docs" / "upstreams.md"
BLOCKS = re.findall(r"(?s)```ini\n(.*?)```", PAGE.read_text())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the page has the reader make: secrets, a certificate and its key, a service account."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tracker-relay")])
    day = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(day).not_valid_after(day + datetime.timedelta(1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    account = {"type": "service_account", "client_email": "r@p.example", "private_key_id": "k", "private_key": pem}
    folder = tmp_path_factory.mktemp("upstreams")
    for file, text in {
        "client.secret": "s\n",
        "client.key": pem,
        "client.pem": certificate,
        "authority.pem": certificate,
        "dkim.key": pem,
        "service-account.json": json.dumps(account),
        "gmail.password": "p\n",
        "spare.password": "p\n",
        "smtp.password": "p\n",
        "ses.password": "p\n",
        "sendgrid.password": "p\n",
        "mailgun.password": "p\n",
        "exchange.password": "p\n",
    }.items():
        (folder / file).write_text(text)
        (folder / file).chmod(0o600)
    return folder


def read(files, number):
    path = files / "config.ini"
    path.write_text(BLOCKS[number])
    path.chmod(0o600)
    return config.read(path, {})


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_check_accepts_it_without_a_word(files, number):
    loaded = read(files, number)
    assert (loaded.fault_lines(), loaded.warning_lines()) == ([], [])
    for name in re.findall(r"(?m)^\w+_file = (\S+)$", BLOCKS[number]):
        assert (files / name).exists()


def test_the_blocks_are_what_the_page_says_of_them(files):
    """By server: where the token comes from, and who logs in."""
    hops = [hop for n in range(len(BLOCKS)) for hop in upstreams_of(read(files, n).configuration)]
    found = {}
    for hop in hops:
        found.setdefault(hop.server, []).append((hop.oauth.grant if hop.oauth else None, bool(hop.user)))
    assert {server: found[server] for server in KINDS} == KINDS
    assert all(hop.tls in ("starttls", "implicit") for hop in hops if hop.server in KINDS)


KINDS = {
    "smtp.office365.com": [
        (Grant.CLIENT_CREDENTIALS, True),
        (Grant.CLIENT_CREDENTIALS, True),
        (Grant.DEVICE_CODE, True),
    ],
    "smtp.gmail.com": [(None, True), (Grant.SERVICE_ACCOUNT, True), (Grant.AUTHORIZATION_CODE, True)],
    "smtp-relay.gmail.com": [(None, False)],
    "smtp.office365.us": [(Grant.CLIENT_CREDENTIALS, True)],
    "smtp.example.com": [(Grant.CLIENT_CREDENTIALS, True)],
    "mail.example.net": [(None, True)],
    "email-smtp.eu-central-1.amazonaws.com": [(None, True)],
    "smtp.sendgrid.net": [(None, True)],
    "smtp.mailgun.org": [(None, True)],
    "mail.corp.example.com": [(None, False)],
    "exchange.corp.example.com": [(None, True), (None, False)],
}


def test_the_hops_and_routes_of_the_blocks_are_what_the_page_says_of_them(files):
    def block(words):
        [number] = [number for number, block in enumerate(BLOCKS) if words in block]
        return read(files, number).configuration

    service, direct, several = block("srv:example.com"), block("upstream = mx\n"), block("[route:inside]")
    [hop] = upstreams_of(service)
    assert (hop.is_discovered, hop.targets, hop.logs_in) == (
        True,
        ("smtp.provider.example", ".mail.provider.example"),
        True,
    )
    [hop] = upstreams_of(direct)
    assert (hop.is_mx, hop.port, hop.logs_in) == (True, 25, False)
    assert [(rule.name, [hop.name for hop in rule.upstreams], hop.weight) for rule in routes_of(several)] == [
        ("personnel", ["personnel"], 0),
        ("inside", ["inside"], 0),
        ("partner", ["mx", "spare"], 0),
    ]
    assert {hop.name: hop.weight for hop in upstreams_of(several) if hop.weight} == {"one": 3, "two": 1}


def test_every_link_within_the_page_leads_somewhere():
    text = PAGE.read_text()
    heads = {
        re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in re.findall(r"(?m)^#+ (.*)$", text)
    }
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert links
    assert set(links) <= heads


def test_every_option_on_the_page_exists():
    from relay.sections import names_of

    known = {*names_of("notification"), *names_of("upstream:x"), *names_of("retry")}
    named = set(re.findall(r"`?\b(oauth_\w+|smtp_\w+)\b", PAGE.read_text()))
    assert named - known <= {"smtp_enabled", "smtp_port_t"}


def test_the_limits_in_its_table_are_those_that_hold():
    from relay.manners import AS_OF, PROVIDERS, Manners

    text = PAGE.read_text()
    assert f"read in {AS_OF}" in text
    rows = {row[-1][row[-1].index("(") + 1 : -1]: row[1:-1] for row in re.findall(_LIMITS, text)}
    assert set(rows) == {provider.source for provider in PROVIDERS.values()}
    for provider in PROVIDERS.values():
        made = Manners(**provider.limits)
        shown = [str(n) if n else "" for n in (made.connections, made.per_minute, made.per_day)]
        assert [cell.strip() for cell in rows[provider.source]] == shown


_LIMITS = r"(?m)^\| ([^|]*) \|([^|]*)\|([^|]*)\|([^|]*)\| (\[[^|]*\]\(https[^|]*\)) \|$"
