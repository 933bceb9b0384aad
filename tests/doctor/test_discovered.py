"""Next hops whose hosts DNS names: doctor, `upstream probe`, `explain` and the status page know them."""

import json

import pytest

from relay import app, config, doctor
from relay.address import parse
from relay.commands.upstream import lines_of
from relay.discovery import Discovery
from relay.doctor import discovered
from relay.doctor.finding import shown
from relay.doctor.hop import hops_of
from relay.errors import RelayError
from relay.explain import as_json, as_text, explain
from relay.hops import Hops
from relay.loaded import upstreams_of
from relay.resolver import Resolver
from relay.upstream import Upstreams
from tests.nameserver import SERVFAIL, Zone, serving

HEAD = "[notification]\nsmtp_enabled = true\nsmtp_from = bot@a.test\nsmtp_always_cc = list@b.test\n"


class Made:
    """A configuration with a zone; everything that a person can ask about its next hops."""

    def __init__(self, tmp_path, zone):
        self.path, self.zone = tmp_path / "config.ini", zone

    def read(self, text):
        short = "\n".join(f"{name} = 1s" for name in ("connect", "greeting", "command"))
        self.path.write_text(
            f"[dns]\nnameservers = 127.0.0.1:{self.zone.port}\ntimeout = 1s\n[timeouts]\n{short}\n{text}"
        )
        self.path.chmod(0o600)
        self.loaded = config.read(self.path, {})
        assert (self.loaded.fault_lines(), self.loaded.warning_lines()) == ([], [])
        return self.loaded.configuration

    async def doctor(self, number=0, recipient=None):
        made = self.loaded.configuration
        rows = doctor.examine(made, hops_of(made)[number], parse(recipient) if recipient else None)
        return [shown(row, []) async for row in rows]

    async def ask(self, **request):
        made = self.loaded.configuration
        upstreams = Upstreams(made.timeouts, "relay.test", lambda: 5.0)
        discovery = Discovery(Resolver(made.dns), upstreams, lambda: 5.0, lambda: 0.5)
        hops = Hops(None, upstreams, lambda: upstreams_of(made), lambda: 5.0, None, discovery.hosts)
        rows = [row async for row in hops.answer({"by": "me", **request})]
        await upstreams.close()
        return rows


@pytest.fixture
def made(tmp_path):
    with serving(Zone()) as zone:
        yield Made(tmp_path, zone)


def checks(rows):
    return [(row.check, str(row.level)) for row in rows]


SESSION = [("greeting", "ok"), ("tls", "ok"), ("ehlo", "ok"), ("auth", "ok"), ("sender", "ok")]


def test_direct_delivery_is_tried_at_the_senders_own_domain(made, stage, tls, run):
    async def story():
        async with stage.peer(certificate=tls("othername")) as peer:
            made.read(HEAD + f"upstream = mx\n[mx]\nport = {peer.port}\nip = ipv4\n")
            made.zone.records |= {("a.test", "MX"): ["5 mx.a.test."], ("mx.a.test", "A"): ["127.0.0.1"]}
            rows = await made.doctor()
            assert checks(rows) == [("dns", "ok"), ("dns", "ok"), ("tcp", "ok"), *SESSION]
            assert rows[0].text == f"the mail of a.test goes to mx.a.test:{peer.port}"
            assert rows[0].about == f"mx (the recipients' own mail servers, port {peer.port})"
            assert rows[1].about == f"mx (mx.a.test:{peer.port})"
            assert "mail to strangers' servers asks for no proof" in rows[4].text
            assert "DATA" not in peer.commands and peer.auths == 0

    run(story)


def test_a_host_that_is_down_is_a_warning_while_another_answers(made, stage, run):
    async def story():
        async with stage.peer(host="127.0.0.2") as peer:
            made.read(HEAD + f"upstream = mx\n[mx]\nport = {peer.port}\n")
            made.zone.records |= {("a.test", "MX"): ["5 mx1.a.test.", "6 mx2.a.test."]}
            made.zone.records |= {("mx1.a.test", "A"): ["127.0.0.1"], ("mx2.a.test", "A"): ["127.0.0.2"]}
            rows = await made.doctor()
            assert checks(rows)[:5] == [("dns", "ok"), ("dns", "ok"), ("tcp", "warn"), ("dns", "ok"), ("tcp", "ok")]
            assert "refused: that host is up, and takes no mail there" in rows[2].text
        rows = await made.doctor()
        assert checks(rows) == [("dns", "ok"), *[("dns", "ok"), ("tcp", "fail")] * 2]

    run(story)


@pytest.mark.parametrize(
    "records, recipient, level, said, remedy",
    [
        ({}, None, "fail", "there is no domain a.test", "dig MX a.test"),
        ({}, "eve@none.test", "warn", "there is no domain none.test", "dig MX none.test"),
        ({("a.test", "MX"): SERVFAIL}, None, "fail", "MX of a.test: the resolver answers SERVFAIL", "dig MX a.test"),
    ],
)
def test_dns_names_nobody(made, run, records, recipient, level, said, remedy):
    async def story():
        made.read(HEAD + "upstream = mx\n")
        made.zone.records |= records
        [row] = await made.doctor(recipient=recipient)
        assert (row.check, str(row.level), row.text, row.remedy) == ("dns", level, said, remedy)

    run(story)


def srv(certificates, more=""):
    return (
        HEAD
        + f"smtp_server = srv:localhost\nsmtp_user = me\nsmtp_password = hunter2\ntls_ca_file = {certificates}/ca.pem\n"
        + more
    )


def test_a_server_that_dns_names(made, stage, tls, run, certificates):
    async def story():
        async with stage.peer(certificate=tls(), implicit=True) as peer:
            made.read(srv(certificates))
            made.zone.records |= {("localhost", "A"): ["127.0.0.1"]}
            made.zone.records[("_submissions._tcp.localhost", "SRV")] = [f"0 0 {peer.port} localhost."]
            rows = await made.doctor()
            assert checks(rows) == [("dns", "ok"), ("dns", "ok"), ("tcp", "ok"), *SESSION]
            assert (rows[0].about, rows[0].text) == (
                "notification (srv:localhost)",
                f"the mail of localhost goes to localhost:{peer.port}",
            )
            [row] = await made.ask(do="probe", name="notification")
            assert (row["ok"], row["host"]) == (True, f"localhost[127.0.0.1]:{peer.port}")
            assert lines_of(row)[0] == "notification: srv:localhost (implicit, starttls)"
        made.zone.records.clear()
        [row] = await made.doctor()
        assert row.text == "localhost offers no _submissions._tcp and no _submission._tcp"
        assert row.remedy == "dig SRV _submissions._tcp.localhost\ndig SRV _submission._tcp.localhost"
        [row] = await made.ask(do="probe", name="notification")
        assert (row["ok"], row["cause"], row["host"]) == (False, "dns", "localhost")

    run(story)


def test_a_port_that_dns_names_and_selinux_keeps_closed(made, stage, tls, run, certificates, tmp_path):
    root = tmp_path / "root" / "sys/fs/selinux"
    (root / "booleans").mkdir(parents=True)
    (root / "enforce").write_text("1")
    (root / "booleans/tracker_relay_web_submit").write_text("1 1")

    async def story():
        async with stage.peer(certificate=tls(), implicit=True) as peer:
            configuration = made.read(srv(certificates))
            made.zone.records |= {("localhost", "A"): ["127.0.0.1"]}
            made.zone.records[("_submissions._tcp.localhost", "SRV")] = [f"0 0 {peer.port} localhost."]
            hop = hops_of(configuration)[0]
            found = discovered.rows(configuration, hop, None, doctor.examine, root=tmp_path / "root")
            rows = [row async for row in found]
            assert checks(rows)[:2] == [("dns", "ok"), ("policy", "warn")]
            assert rows[1].remedy == f"semanage port -a -t smtp_port_t -p tcp {peer.port}"

    run(story)


def test_probe_says_a_refused_password_once(made, stage, tls, run, certificates):
    async def story():
        refused = {"AUTH": "535 5.7.8 no"}
        async with (
            stage.peer(certificate=tls(), script=refused) as one,
            stage.peer(certificate=tls(), script=refused) as two,
        ):
            made.read(srv(certificates))
            made.zone.records |= {("localhost", "A"): ["127.0.0.1"]}
            made.zone.records[("_submission._tcp.localhost", "SRV")] = [f"0 0 {p.port} localhost." for p in (one, two)]
            [row] = await made.ask(do="probe", name="notification")
            assert (row["ok"], row["cause"]) == (False, "auth")
            assert one.auths + two.auths == 1

    run(story)


def test_probe_of_direct_delivery_wants_a_domain(made, stage, run):
    async def story():
        async with stage.peer() as peer:
            made.read(HEAD + f"upstream = mx\n[mx]\nport = {peer.port}\n")
            made.zone.records |= {("c.test", "A"): ["127.0.0.1"]}
            with pytest.raises(RelayError, match="say one, as in probe mx example"):
                await made.ask(do="probe", name="mx")
            with pytest.raises(RelayError, match="is no domain: bad domain"):
                await made.ask(do="probe", name="mx", domain="c..test")
            [row] = await made.ask(do="probe", name="mx", domain="C.test")
            assert (row["ok"], row["host"]) == (True, f"c.test[127.0.0.1]:{peer.port}")
            [row] = await made.ask(do="upstreams")
            assert lines_of(row) == [f"mx: the recipients' own mail servers, port {peer.port} (opportunistic)"]

    run(story)


ROUTES = (
    HEAD
    + "smtp_server = mail.a.test\n[route:direct]\nmatch = recipient: b.test\nupstream = mx, spare\n"
    + "[route:hr]\nmatch = sender: hr@a.test\nupstream = spare\n[upstream:spare]\nserver = spare.a.test\n"
)
MAIL = b"From: bot@a.test\nTo: eve@c.test\nSubject: x\n\nhello\n"


def test_explain_says_where_each_recipients_mail_goes(made):
    setting = app.setting_of(made.read(ROUTES))
    found = explain(MAIL, None, [], setting, 0.0)
    assert [line for line in as_text(found).splitlines() if " to " in line][:2] == [
        "  eve@c.test: to mail.a.test:25 (opportunistic)",
        "  list@b.test: by [route:direct] to the recipients' own mail servers, port 25 (opportunistic), else to spare.a.test:25 (opportunistic)",
    ]
    assert json.loads(as_json(found))["routes"] == [
        {"route": "", "upstreams": ["notification"], "domain": "", "recipients": ["eve@c.test"]},
        {"route": "direct", "upstreams": ["mx", "spare"], "domain": "b.test", "recipients": ["list@b.test"]},
    ]
    plain = app.setting_of(made.read(HEAD + "smtp_server = mail.a.test\n"))
    assert "goes to: mail.a.test:25 (opportunistic)" in as_text(explain(MAIL, None, [], plain, 0.0))


def test_doctor_tries_each_hop_as_those_who_send_through_it(made):
    senders = {hop.names[0]: {k: str(v) for k, v in hop.senders.items()} for hop in hops_of(made.read(ROUTES))}
    assert senders == {
        "notification": {"notification": "bot@a.test"},
        "mx": {"route:direct": "bot@a.test"},
        "spare": {"route:direct": "bot@a.test", "route:hr": "hr@a.test"},
    }
