"""Broken OAuth2 configurations, each with every line that `check` says about it."""

import json

import pytest

HEAD = "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n"
HOP = HEAD + "smtp_server = smtp.example.com\nuse_tls = true\nsmtp_user = bugs@example.com\n"
PLAIN = HOP.replace("use_tls = true", "use_tls = false")
ID = "oauth_client_id = app\n"
CUSTOM = HOP + "oauth = custom\n" + ID + "oauth_scope = smtp\noauth_token_url = https://id.example.com/token\n"
ACCOUNT = json.dumps(
    {"type": "service_account", "client_email": "r@p.example", "private_key_id": "k", "private_key": "no PEM"}
)

BROKEN = {
    "an unknown provider": (
        HOP + "smtp_password = x\noauth = yahoo\n",
        ["8: [notification] oauth: 'yahoo' is none of microsoft, google, custom"],
    ),
    "an unknown grant": (
        HOP + "oauth = microsoft\noauth_grant = password\n" + ID,
        ["8: [notification] oauth_grant: 'password' is none of client_credentials, device_code, authorization_code, service_account"],
    ),
    "options without oauth": (
        HOP + "smtp_password = x\noauth_client_id = app\n",
        ["8: [notification] oauth_client_id: it is of no use without oauth: set oauth to microsoft, google, custom, or remove it"],
    ),
    "a misspelt option": (
        HOP + "oauth = microsoft\n" + ID + "oauth_tennant = contoso.example\n",
        ["9: [notification] oauth_tennant: no such option: did you mean oauth_tenant?"],
    ),
    "a password beside it": (
        HOP + "smtp_password = x\noauth = microsoft\n" + ID,
        ["7: [notification] smtp_password: oauth = microsoft logs in with tokens instead: remove one of them"],
    ),
    "nobody to log in as": (
        HOP.replace("smtp_user = bugs@example.com\n", "oauth = microsoft\n") + ID,
        ["1: [notification] smtp_user: a token logs in as somebody: set it to the address of the mailbox that sends"],
    ),
    "no server": (
        HEAD + "smtp_user = me@example.com\noauth = microsoft\n" + ID,
        [
            "4: [notification] smtp_user: there is no smtp_server to log in to: set smtp_server, or remove it",
            "5: [notification] oauth: there is no smtp_server to log in to: set smtp_server, or remove it",
        ],
    ),
    "a token over an unprotected connection": (
        PLAIN + "oauth = microsoft\n" + ID,
        ["6: [notification] smtp_user: the token would cross an unprotected connection (tls is none): set use_tls = true"],
    ),
    "a mechanism that takes passwords": (
        HOP + "oauth = microsoft\nauth = plain\n" + ID,
        ["8: [notification] auth: auth = plain takes no token, oauth brings nothing else: remove it, or oauth"],
    ),
    "a mechanism that takes tokens without any": (
        HOP + "smtp_password = x\nauth = xoauth2\n",
        ["8: [notification] auth: auth = xoauth2 logs in with a token: set oauth to say where it comes from"],
    ),
    "no client id": (
        HOP + "oauth = microsoft\n",
        ["1: [notification] oauth_client_id: the provider knows you by it: set it to your application's client id"],
    ),
    "an application without its tenant": (
        HOP + "oauth = microsoft\n" + ID + "oauth_client_secret = s\n",
        ["1: [notification] oauth_tenant: client_credentials needs your tenant: set it to the tenant's id or domain"],
    ),
    "a tenant that is a path": (
        HOP + "oauth = microsoft\n" + ID + "oauth_tenant = a/b\n",
        ["9: [notification] oauth_tenant: 'a/b' is no tenant's id or domain"],
    ),
    "an application without proof": (
        HOP + "oauth = microsoft\noauth_grant = client_credentials\noauth_tenant = t\n" + ID,
        ["8: [notification] oauth_grant: client_credentials needs a proof: set oauth_client_secret_file, or oauth_certificate and oauth_key_file"],
    ),
    "a secret and a certificate": (
        HOP + "oauth = microsoft\noauth_tenant = t\noauth_client_secret = s\noauth_certificate = c.pem\noauth_key = k\n" + ID,
        ["10: [notification] oauth_certificate: a secret is set too: keep the certificate, or oauth_client_secret"],
    ),
    "a certificate without its key": (
        HOP + "oauth = microsoft\noauth_tenant = t\noauth_certificate = c.pem\n" + ID,
        ["9: [notification] oauth_certificate: its private key is missing: set oauth_key_file"],
    ),
    "a certificate that is not there": (
        HOP + "oauth = microsoft\noauth_tenant = t\noauth_certificate = c.pem\noauth_key = k\n" + ID,
        ["9: [notification] oauth_certificate: {folder}/c.pem: No such file or directory"],
    ),
    "a certificate that is none": (
        HOP + "oauth = microsoft\noauth_tenant = t\noauth_certificate = config.ini\noauth_key = k\n" + ID,
        ["9: [notification] oauth_certificate: oauth_certificate holds no certificate in PEM form"],
    ),
    "authorities that are not there": (
        CUSTOM + "oauth_client_secret = s\noauth_ca_file = ca.pem\n",
        ["12: [notification] oauth_ca_file: {folder}/ca.pem: No such file or directory: name a file of certificates in PEM form"],
    ),
    "a service account that is none": (
        HOP + "oauth = google\noauth_service_account = {}\n",
        ["8: [notification] oauth_service_account: that is no JSON key of a service account: download it from Google anew"],
    ),
    "a service account whose key is none": (
        HOP + f"oauth = google\noauth_service_account = {ACCOUNT}\n",
        ["8: [notification] oauth_service_account: the private key can not be read: it must be PEM, and without a pass phrase"],
    ),
    "google by device": (
        HOP + "oauth = google\noauth_grant = device_code\n" + ID,
        ["8: [notification] oauth_grant: google gives no device code for mail: use authorization_code, or a service account"],
    ),
    "google without the secret": (
        HOP + "oauth = google\n" + ID,
        ["1: [notification] oauth_client_secret: google wants the secret of desktop applications too: set oauth_client_secret_file"],
    ),
    "custom without addresses": (
        HOP + "oauth = custom\noauth_client_secret = s\n" + ID,
        [
            "1: [notification] oauth_token_url: oauth = custom with client_credentials needs it: set it",
            "1: [notification] oauth_scope: oauth = custom with client_credentials needs it: set it",
        ],
    ),
    "an address without TLS": (
        CUSTOM.replace("https", "http") + "oauth_client_secret = s\n",
        ["10: [notification] oauth_token_url: 'http://id.example.com/token' is no https address", "10: [notification] oauth_token_url: oauth = custom with client_credentials needs it: set it"],
    ),
    "an address with a password": (
        CUSTOM + "oauth_client_secret = s\noauth_revoke_url = https://u:hunter2@id.example.com/\n",
        ["12: [notification] oauth_revoke_url: an address with a user, a password or a # in it: write it without"],
    ),
    "a browser sent to another host without TLS": (
        CUSTOM + "oauth_auth_url = https://id.example.com/auth\noauth_redirect = http://example.com/\n",
        ["12: [notification] oauth_redirect: 'http://example.com/' is no https address"],
    ),
    "a secret file that others may read": (
        HOP + "oauth = microsoft\noauth_tenant = t\noauth_client_secret_file = open\n" + ID,
        [
            "9: [notification] oauth_client_secret_file: others may read {folder}/open, which holds a secret: chmod o-rwx {folder}/open",
        ],
    ),
    "of a next hop of its own": (
        HEAD + "upstream = m365\n[upstream:m365]\nserver = smtp.office365.com\ntls = starttls\noauth = microsoft\npassword = x\n" + ID,
        [
            "5: [upstream:m365] user: a token logs in as somebody: set it to the address of the mailbox that sends",
            "9: [upstream:m365] password: oauth = microsoft logs in with tokens instead: remove one of them",
        ],
    ),
    "beside upstream": (
        HEAD + "upstream = m365\noauth = microsoft\n[upstream:m365]\nserver = smtp.office365.com\ntls = starttls\n",
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken(checked, tmp_path, name):
    text, lines = BROKEN[name]
    (tmp_path / "open").write_text("s\n")
    (tmp_path / "open").chmod(0o644)
    result = checked(text)
    assert sorted(result.faults) == sorted(line.replace("{folder}", str(tmp_path)) for line in lines)
    assert result.status == (78 if lines else 0)
    assert "hunter2" not in " ".join(result.faults)


def test_beside_upstream_it_is_said_to_have_no_effect(checked):
    [*_, warning] = checked(BROKEN["beside upstream"][0]).warnings
    assert warning == "5: [notification] oauth: it has no effect beside upstream = m365: move it into [upstream:m365]"


PROFILE = "[notification:harbour]\nmatch = project: Harbour\n"


@pytest.mark.parametrize(
    ("own", "faults"),
    [
        ("", []),
        ("smtp_user = other@example.com\n", []),
        ("smtp_password = x\n", []),  # a password of its own takes the place of the tokens
        ("oauth = custom\n", ["oauth_client_id: the provider knows you by it", "oauth_token_url: oauth = custom"]),
        ("smtp_server = other.example.com\n", []),  # and another server gets neither
    ],
)
def test_what_a_profile_inherits(checked, own, faults):
    result = checked(HOP + "oauth = microsoft\noauth_client_id = app\n" + PROFILE + own)
    told = [line.partition("[notification:harbour] ")[2] for line in result.faults]
    assert all(any(line.startswith(fault) for line in told) for fault in faults)
    assert bool(told) == bool(faults)


def test_a_profile_with_tokens_leaves_the_password_behind(checked):
    text = HOP + "smtp_password = x\n" + PROFILE + "oauth = microsoft\noauth_client_id = app\n"
    assert checked(text).faults == []
