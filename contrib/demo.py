"""Send sample notifications through a relay that is just starting, and say where to look."""

import smtplib
import sys
import time
from pathlib import Path

from relay import config

GREETING = 30.0
"""Seconds that the relay gets to answer."""

HEADER = """\
MIME-Version: 1.0
Content-Type: text/plain; charset="utf-8"
Content-Transfer-Encoding: 8bit
X-Mailer: Trac 1.6, by Edgewall Software
X-Trac-Version: 1.6
X-Trac-Project: Harbour
X-URL: http://tracker.example.com/harbour
Precedence: bulk
Auto-Submitted: auto-generated
Date: {date}
From: Harbour <trac@localhost>
To: undisclosed-recipients: ;
"""

TABLE = """\
#{ticket}: {summary}
-----------------------+--------------------
 Reporter:  dana       |      Owner:  luc
     Type:  defect     |     Status:  new
 Priority:  major      |  Milestone:
-----------------------+--------------------
"""

SAMPLES = (
    ("12", "Crane jams", "", " The crane at quay 4 jams when it rains.\n", ["dana@example.com", "luc"]),
    ("13", "Kran klemmt: Häfen prüfen", "", " Für alle Häfen: bitte prüfen. お願いします。\n", ["sato@example.jp"]),
    ("12", "Crane jams", "Comment (by luc):\n\n", " Oiled it. Works, even in the rain.\n", ["dana@example.com"]),
)
"""Ticket, summary, what the change line says, text, recipients."""


def mail(number: int) -> bytes:
    """One sample as Trac writes it."""
    ticket, summary, change, text, _ = SAMPLES[number]
    date = time.strftime("%a, %d %b %Y %H:%M:%S -0000", time.gmtime())
    subject = f"{'Re: ' if change else ''}#{ticket}: {summary}"
    header = HEADER.format(date=date) + f"Message-ID: <{number:03}.{time.time_ns()}@tracker.example.com>\n"
    body = TABLE.format(ticket=ticket, summary=summary) + change + text
    return f"{header}Subject: {subject}\nX-Trac-Ticket-ID: {ticket}\n\n{body}".replace("\n", "\r\n").encode()


def connect(host: str, port: int) -> smtplib.SMTP:
    """The relay, once it answers."""
    until = time.monotonic() + GREETING
    while True:
        try:
            return smtplib.SMTP(host, port, timeout=10)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def main() -> int:
    """Send them all."""
    configuration = config.read(Path(sys.argv[1])).configuration
    listen = configuration.listener.listen[0]
    try:
        with connect(listen.host, listen.port) as client:
            for number, sample in enumerate(SAMPLES):
                client.sendmail("trac@localhost", sample[4], mail(number))
    except (OSError, smtplib.SMTPException) as fault:
        print(f"demo: no mail could be sent to {listen}: {fault}", file=sys.stderr)
        return 1
    where = configuration.next_hop.smtp_server or f"{configuration.next_hop.outbox}/new"
    print(
        f"demo: {len(SAMPLES)} notifications sent through {listen}; look in {where}, or on the status page",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
