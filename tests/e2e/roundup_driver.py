"""Runs in the Python that has Roundup: one tracker, driven by JSON lines on stdin, answering on stdout."""

import json
import logging
import sys
from pathlib import Path

import roundup
from roundup import date, init, instance, password
from roundup.configuration import CoreConfig

USERS = (
    ("dana", "Dana Field", "dana@example.com"),
    ("luc", "Luc Bézier", "luc@example.net"),
    ("sato", "佐藤 花子", "sato@example.jp"),
)


def create(home, options):
    """The classic template on SQLite, with three users; [section, option, value] each."""
    template = Path(sys.prefix, "share", "roundup", "templates", "classic")
    init.install(home, str(template))
    config = CoreConfig()
    config.load_ini(home)
    for section, option, value in (("rdbms", "backend", "sqlite"), *options):
        config[option.upper() if section == "main" else f"{section}_{option}".upper()] = value
    config.save(str(Path(home, "config.ini")))
    tracker = instance.open(home)
    tracker.init(password.Password("secret", config=tracker.config))
    db = tracker.open("admin")
    for login, name, address in USERS:
        db.user.create(username=login, realname=name, address=address, roles="User")
    db.commit()
    db.close()
    return tracker


def message(db, author, text, files):
    made = [db.file.create(name=name, content=content, type=kind) for name, kind, content in files]
    return db.msg.create(author=author, content=text, date=date.Date("."), files=made, recipients=[])


def new(tracker, author, title, text, assignedto=None, nosy=(), files=()):
    db = tracker.open(author)
    try:
        people = {"nosy": [db.user.lookup(login) for login in nosy]}
        if assignedto:
            people["assignedto"] = db.user.lookup(assignedto)
        made = db.issue.create(title=title, messages=[message(db, db.getuid(), text, files)], **people)
        db.commit()
        return made
    finally:
        db.close()


def change(tracker, author, number, text=None, assignedto=None, title=None, files=()):
    db = tracker.open(author)
    try:
        values = {"title": title} if title else {}
        if assignedto:
            values["assignedto"] = db.user.lookup(assignedto)
        if text is not None:
            values["messages"] = [*db.issue.get(number, "messages"), message(db, db.getuid(), text, files)]
        db.issue.set(number, **values)
        db.commit()
        return number
    finally:
        db.close()


def main():
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    answers, sys.stdout = sys.stdout, sys.stderr  # Roundup prints
    tracker = None
    for line in sys.stdin:
        request = json.loads(line)
        do = request.pop("do")
        try:
            if do == "create":
                tracker = create(**request)
                answer = {"ok": roundup.__version__}
            else:
                answer = {"ok": {"new": new, "change": change}[do](tracker, **request)}
        except Exception as fault:
            answer = {"fault": f"{type(fault).__name__}: {fault}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
