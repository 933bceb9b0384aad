"""Any octets are a configuration that can be used, or faults, each one line that says where; no secret stands in any of them.

The config reader: config.ini from its octets to a Configuration, all checks included.
"""

import re
import tempfile
from pathlib import Path

from relay import app, config
from relay.loaded import profiles_of, upstreams_of
from relay.sections import declared, kinds_of

NAME = "configs"
SHARE = 2
CASES = 500
TOKENS = (
    b"[listener]\n", b"[spool]\n", b"[retry]\n", b"[notification]\n", b"[notification:x]\n", b"[upstream:up]\n", b"[users]\n", b"[user:dana]\n", b"[timeouts]\n", b"[status]\n", b"[log]\n", b"[DEFAULT]\n", b"[route:x]\n",
    b"listen = 127.0.0.1:25\n", b"listen = [::1]:25, unix:x\n", b"allow = 0.0.0.0/0\n", b"max_size = 50M\n", b"first = 1m\n", b"lifetime = off\n", b"smtp_server = mail.example.com\n", b"smtp_port = 99999\n", b"smtp_user = me\n",
    b"smtp_password = Grue-xyzzy-7319\n", b"smtp_password_file = none\n", b"use_tls = true\n", b"tls = implicit\n", b"auth = PLAIN\n", b"oauth = google\n", b"oauth_client_secret = Plugh-4242-secret\n", b"password = Zork-1234-secret\n",
    b"match = project: Harbour\n", b"upstream = up, outbox\n", b"dana = Dana Field <dana@example.com>\n", b"smtp_from = a@b.example\n", b"dkim_key = x\n", b"secret_modes = warn\n", b"\xef\xbb\xbf", b"  continued\n", b"smtp_always_cc = a@b, c\n",
    b"mime_encoding = base64\n", b"own_changes = drop\n", b"ignore_domains = x, y\n", b"%(x)s", b"${x}", b"; note\n", b"# note\n", b"=\n", b"=" * 50, b"/dev/null", b"../x",
)  # fmt: skip
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-config"))
SECRET = re.compile(r"(?:Grue|Plugh|Zork)-\d{4}\S*|Grue-xyzzy\S*")
FILE = FOLDER / "config.ini"


def check(data):
    """One file."""
    if b"/dev/" in data.replace(b"/dev/null", b"") or b"/proc" in data:
        return 0
    FILE.unlink(missing_ok=True)
    FILE.touch(0o600)
    FILE.write_bytes(data)
    loaded = config.read(FILE, {})
    lines = [*loaded.fault_lines(), *loaded.warning_lines()]
    last = len(data.splitlines()) + 1
    for line in lines:
        found = re.fullmatch(re.escape(str(FILE)) + r":(\d+): \S.*", line)
        assert found and line.isprintable(), f"no line of check: {line!r}"
        assert 1 <= int(found[1]) <= last, line
    for secret in _secrets(loaded):
        shown = [line for line in lines if secret in line]
        assert not shown or data.count(secret.encode()) > 1, f"{secret!r} stands in {shown}"
        assert secret not in repr(loaded.configuration) or data.count(secret.encode()) > 1, f"{secret!r} is shown"
    if not loaded.faults:
        assert profiles_of(loaded.configuration)
        assert len({up.name for up in upstreams_of(loaded.configuration)}) == len(upstreams_of(loaded.configuration))
        app.setting_of(loaded.configuration)
        assert config.read(FILE, {}).configuration == loaded.configuration
    return 1


def _secrets(loaded):
    """What stands as a value of an option that is declared a secret, as far as it can be told from all else."""
    for section, values in loaded.ini.sections.items():
        for kind in kinds_of(section):
            for name, field in declared(section, kind).items():
                if field.metadata["secret"] and name in values:
                    yield from SECRET.findall(values[name].text)
