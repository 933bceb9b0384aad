"""The outbox on the page: readable, and no way out of it."""

import pytest

from relay.web import captured
from tests.web.conftest import outcome
from tests.web.seen import mail, see


def test_the_outbox_is_readable(site):
    text = (
        b"From: =?utf-8?b?SMOkZmVu?= <bugs@example.com>\r\nSubject: =?utf-8?q?Kran_klemmt=3A_H=C3=A4fen?=\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/alternative; boundary=B\r\n\r\n--B\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"F=FCr alle H=E4fen\r\n--B\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPHA+SMOkZmVuPC9wPg==\r\n--B\r\n"
        b'Content-Type: application/pdf; name="=?utf-8?q?Pl=C3=A4ne=2Epdf?="\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--B--\r\n'
    )
    names = [site.capture(text, ["dana@example.com", "hidden@example.org"])]
    row = see(site, "/outbox").words
    assert "Kran klemmt: Häfen" in row
    assert "dana@example.com, hidden@example.org" in row
    page = see(site, f"/outbox/{names[0]}").words
    for told in (
        "Häfen <bugs@example.com>",
        "Für alle Häfen",
        "<p>Häfen</p>",
        "Pläne.pdf application/pdf",
        "hidden@example.org",
    ):
        assert told in page, told
    assert site.get(f"/outbox/{names[0]}/source").body == text
    form = site.get(f"/api/outbox/{names[0]}").json
    assert form["envelope"]["to"][1]["address"] == "hidden@example.org"
    assert [part["type"] for part in form["content"]["parts"]] == ["text/plain", "text/html", "application/pdf"]
    seen = site.outbox / "cur" / f"{names[0]}:2,S"
    (site.outbox / "new" / names[0]).rename(seen)
    assert "Für alle Häfen" in see(site, f"/outbox/{names[0]}").words
    assert "Kran klemmt" in see(site, "/outbox").words
    seen.unlink()
    site.get(f"/outbox/{names[0]}", 404)
    site.get("/outbox")


def test_a_finished_mail_leads_to_its_copy_in_the_outbox(site):
    entry = site.put(mail("Crane"), summary="Crane")
    name = site.capture(f"Received: from x by y with ESMTP id {entry.id}; Tue\r\nSubject: Crane\r\n\r\nx\r\n".encode())
    assert name.startswith(entry.id)
    site.finish(entry, outcome())
    assert f"/outbox/{name}" in see(site, f"/mail/{entry.id}").links
    assert f"/mail/{entry.id}" in see(site, f"/outbox/{name}").links


@pytest.mark.parametrize(
    "name", ["..", "%2e%2e%2fstatus.token", "..%2f..%2fetc%2fpasswd", "0" * 32, "x", "a" * 15 + "." + "b" * 16, "%00"]
)
def test_no_path_leads_out_of_the_outbox(site, name):
    (site.outbox / "new").mkdir(parents=True)
    (site.outbox / "new" / ("f" * 32)).symlink_to("/etc/passwd")
    for path in (
        f"/outbox/{name}",
        f"/outbox/{name}/source",
        f"/api/outbox/{name}",
        f"/mail/{name}",
        f"/mail/{name}/source",
        f"/outbox/{'f' * 32}/source",
    ):
        assert site.ask(path).status == 404, path
    assert site.get("/outbox").status == 200


@pytest.mark.parametrize("kind", ["new", "cur", "envelope"])
def test_a_folder_that_is_a_link_leads_out_of_the_outbox(site, tmp_path, kind):
    """Its mail is another's: nothing of it is listed, shown, or counted; the other folders are read as before."""
    name, theirs = "f" * 32, tmp_path / "theirs"
    theirs.mkdir()
    (theirs / name).write_bytes(b"Subject: theirs\r\n\r\nx\r\n")
    (theirs / f"{name}.json").write_text('{"to": [{"address": "theirs@example.org"}]}')
    site.outbox.mkdir()
    for folder in {"new", "cur", "envelope"} - {kind}:
        (site.outbox / folder).mkdir()
    (site.outbox / kind).symlink_to(theirs)
    mine = site.outbox / ("cur" if kind == "new" else "new") / (name if kind == "envelope" else "e" * 32)
    mine.write_bytes(b"Subject: mine\r\n\r\nx\r\n")
    listed = site.get("/api/outbox").text
    assert "mine" in listed
    assert "theirs" not in listed
    if kind != "envelope":
        assert site.ask(f"/outbox/{name}").status == site.ask(f"/outbox/{name}/source").status == 404


def test_only_names_that_the_outbox_gives_are_looked_for(site):
    (site.outbox / "new").mkdir(parents=True)
    (site.outbox / "secret").write_text("Subject: x\r\n\r\nx")
    assert captured.find([site.outbox], "../secret") is None
    assert captured.find([site.outbox], "") is None
