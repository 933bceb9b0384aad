"""Programs that people have, as clients; and the log that they leave, as Postfix's readers read it."""

import re
import shutil
import subprocess

import pytest

from tests.e2e.hop import Administrator
from tests.e2e.tools import missing, until

CONFIG = """
[notification]
smtp_enabled = true
smtp_from = bugs@example.com
smtp_default_domain = corp.example.com
mime_encoding = none
"""
QUEUED = re.compile(rb"250 2\.0\.0 queued as ([0-9a-z]{15})")
POSTFIX = re.compile(
    r"([0-9a-z]{15}): to=<([^<>\s]*)>, relay=(?:none|outbox|[^\s,\[\]]+\[[^\s,\[\]]+\]:\d+), delay=(\d+(?:\.\d+)?),"
    r" delays=((?:\d+(?:\.\d+)?/){3}\d+(?:\.\d+)?), dsn=[245]\.\d{1,3}\.\d{1,3}, status=([a-z]+) \((.+)\), tls=(?:[a-z]+\??|![a-z]+|\([a-z]+:[a-z]+\))$"
)
"""What programs that read Postfix's log look for."""


def run(*arguments, **more):
    program = shutil.which(arguments[0], path="/usr/sbin:/usr/bin:/bin")
    if program is None:
        missing(arguments[0])
    return subprocess.run([program, *arguments[1:]], capture_output=True, timeout=60, **more)


def delivered(daemon, number):
    until(lambda: len(daemon.outbox()) == number, f"{number} mails in the outbox")
    return [(octets, [row["address"] for row in envelope["to"]]) for octets, envelope in daemon.outbox()]


@pytest.mark.real
def test_curl(daemon, tmp_path):
    daemon.configure(CONFIG).start()
    mail = tmp_path / "mail"
    mail.write_bytes("Subject: hélas\r\n\r\n.dot\r\nFrom é\r\n".encode())
    url = f"smtp://127.0.0.1:{daemon.port}/tracker.example.com"
    line = ("curl", "-sv", url, "--mail-from", "t@example.com", "--mail-rcpt", "eve@example.org", "--upload-file", str(mail))  # fmt: skip
    result = run(*line, "--mail-rcpt", "a b@example.org", "--mail-rcpt-allowfails")
    assert result.returncode == 0, result.stderr
    assert b"< 553 5.1.3 " in result.stderr
    [name] = QUEUED.findall(result.stderr)
    mails = delivered(daemon, 2)
    assert {tuple(to) for _, to in mails} == {("eve@example.org",), ("bugs@example.com",)}, "the mail, and the report"
    assert any(b"\r\n\r\n.dot\r\n" in octets for octets, _ in mails)
    [report] = [octets for octets, to in mails if to == ["bugs@example.com"]]
    assert b"a b@example.org" in report
    assert b"553 5.1.3" in report
    assert daemon.log().count(name.decode()) >= 3
    life = Administrator(daemon).command("trace", name.decode())
    assert "refused at RCPT: <a b@example.org>" in life
    assert "refused a b@example.org by path: 553 5.1.3 not an address" in life
    assert "reported: failed, to bugs@example.com as " in life


@pytest.mark.real
def test_perl(daemon):
    """Bugzilla and Request Tracker speak through Net::SMTP."""
    daemon.configure(CONFIG).start()
    program = f"""
        use Net::SMTP;
        my $smtp = Net::SMTP->new("127.0.0.1", Port => {daemon.port}, Hello => "bz.example.com") or die;
        $smtp->mail("bugzilla") or die;
        my @good = $smtp->recipient("eve\\@example.org", "x y\\@example.org", "bob", {{ SkipBad => 1 }});
        die "@good" unless "@good" eq "eve\\@example.org bob";
        $smtp->data() or die;
        $smtp->datasend("Subject: hi\\n\\n.dot\\nlast");
        $smtp->dataend() or die;
        print $smtp->message;
        $smtp->reset() or die;
        $smtp->quit() or die;
    """
    result = run("perl", "-e", program)
    assert (result.returncode, result.stderr) == (0, b"")
    assert QUEUED.match(b"250 " + result.stdout)
    mails = delivered(daemon, 2)
    assert ["bob@corp.example.com", "eve@example.org"] in [sorted(to) for _, to in mails]
    assert any(octets.endswith(b"\r\n\r\n.dot\r\nlast\r\n") for octets, _ in mails)


@pytest.mark.real
def test_msmtp(daemon):
    daemon.configure(CONFIG).start()
    mail = b"From: t@example.com\nTo: eve@example.org\nSubject: hi\n\n.\nlines\n"
    line = ("msmtp", "--host=127.0.0.1", f"--port={daemon.port}", "--from=t@example.com", "eve@example.org")
    result = run(*line, input=mail)
    assert (result.returncode, result.stderr) == (0, b"")
    [(octets, to)] = delivered(daemon, 1)
    assert to == ["eve@example.org"]
    assert octets.endswith(b"\r\n\r\n.\r\nlines\r\n")


@pytest.mark.real
@pytest.mark.parametrize("mechanism", ["scram-sha-256", "plain", "login"])
def test_msmtp_logs_in(daemon, mechanism):
    """By GNU SASL, which shares no line with the relay."""
    daemon.configure("passwd_file = passwd\n" + CONFIG)
    assert "may log in" in Administrator(daemon).command("passwd", "dana", input="s3crét\n".encode())
    daemon.start()
    line = ("msmtp", "--host=127.0.0.1", f"--port={daemon.port}", "--from=t@example.com", f"--auth={mechanism}")
    login = ("--user=dana", "--tls=off", "--passwordeval=printf %s {}", "eve@example.org")
    for word, status in (("wrong", 77), ("s3crét", 0)):
        result = run(*line, *(part.format(word) for part in login), input=b"Subject: hi\n\nx\n")
        assert result.returncode == status, result.stderr
    [(octets, _)] = delivered(daemon, 1)
    assert b"ESMTPA" in octets


@pytest.mark.real
@pytest.mark.parametrize("kept", [(), ("-d",)], ids=["connection each", "kept connections"])
def test_postfix_own_load_generator(daemon, kept):
    daemon.configure(CONFIG).start()
    line = ("smtp-source", *kept, "-s", "10", "-m", "100", "-l", "4000", "-r", "3", "-f", "t@example.com", "-t", "eve@example.org", f"127.0.0.1:{daemon.port}")  # fmt: skip
    result = run(*line)
    assert (result.returncode, result.stderr) == (0, b"")
    assert len(delivered(daemon, 100)) == 100


@pytest.mark.real
def test_netcat(daemon):
    """Everything at once, and then the end of what it says."""
    daemon.configure(CONFIG).start()
    said = (
        b"EHLO x\r\nMAIL FROM:<>\r\n"
        + b"RCPT TO:<eve@example.org>\r\n" * 500
        + b"DATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"
    )
    result = run("nc", "-N", "127.0.0.1", str(daemon.port), input=said)
    assert result.stdout.endswith(b"221 2.0.0 bye\r\n")
    assert len(QUEUED.findall(result.stdout)) == 1
    assert [to for _, to in delivered(daemon, 1)] == [["eve@example.org"]]


def test_the_log_of_a_delivery_is_read_as_postfix_log(relay, hop):
    """Sent, deferred, bounced and dropped: each recipient and attempt has its line, and they join by the mail's id."""
    hop.refuse |= {"busy": "450 4.2.1 later", "gone": "550 5.1.1 no such user"}
    relay.set_hop(hop.port).start()
    relay.send(b"Subject: x\r\n\r\nx\r\n", ["eve@example.org", "busy@example.org", "gone@example.org", "bob"])
    until(lambda: relay.log().count("status=") >= 5, "five lines")
    lines = [line for line in relay.log().splitlines() if " to=<" in line and "status=" in line]
    read = [POSTFIX.search(line) for line in lines]
    assert all(read), lines
    ends = {found[2]: found[5] for found in read}
    assert ends == {
        "eve@example.org": "sent",
        "busy@example.org": "deferred",
        "gone@example.org": "bounced",
        "bob": "dropped",
        "bugs@example.com": "sent",
    }
    for found in read:
        total, parts = float(found[3]), [float(part) for part in found[4].split("/")]
        assert abs(total - sum(parts)) <= 0.06 * total + 0.01, found[0]  # two digits each, and hundredths
        assert parts[0] > 0, "the time before the queue is a real one"
    [first] = {found[1] for found in read if found[2] == "eve@example.org"}
    assert {found[1] for found in read if found[2] != "bugs@example.com"} == {first}
    assert re.search(rf"{first}: from=<trac@tracker.example.com>, size=\d+, nrcpt=4, client=127\.0\.0\.1", relay.log())
