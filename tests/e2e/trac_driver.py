"""Runs in the Python that has Trac: one environment, driven by JSON lines on stdin, answering on stdout."""

import io
import json
import logging
import sys

from trac.attachment import Attachment
from trac.env import Environment
from trac.notification.api import NotificationSystem
from trac.ticket.model import Ticket
from trac.ticket.notification import TicketChangeEvent
from trac.util.datefmt import datetime_now, utc


def create(path, options):
    env = Environment(path, create=True, options=[tuple(option) for option in options])
    with env.db_transaction as db:
        for login, name, email in (
            ("dana", "Dana Field", "dana@example.com"),
            ("luc", "Luc Bézier", "luc@example.net"),
        ):
            db("INSERT INTO session (sid, authenticated, last_visit) VALUES (%s, 1, 0)", (login,))
            for key, value in (("name", name), ("email", email)):
                db(
                    "INSERT INTO session_attribute (sid, authenticated, name, value) VALUES (%s, 1, %s, %s)",
                    (login, key, value),
                )
    return env


def notify(env, event):
    NotificationSystem(env).notify(event)


def new(env, fields):
    ticket = Ticket(env)
    ticket.populate(fields)
    ticket["status"] = "new"
    ticket.insert()
    notify(env, TicketChangeEvent("created", ticket, ticket["time"], ticket["reporter"]))
    return ticket.id


def change(env, number, author, comment, fields):
    ticket = Ticket(env, number)
    for name, value in fields.items():
        ticket[name] = value
    now = datetime_now(utc)
    ticket.save_changes(author, comment, now)
    notify(env, TicketChangeEvent("changed", ticket, now, author, comment))
    return ticket.id


def attach(env, number, author, name, octets):
    attachment = Attachment(env, "ticket", number)
    attachment.author = author
    attachment.insert(name, io.BytesIO(octets), len(octets))  # Trac notifies of its own accord
    return number


def main():
    env = None
    logging.captureWarnings(True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            match request.pop("do"):
                case "create":
                    env = create(**request)
                    answer = "ok"
                case "set":
                    for section, name, value in request["options"]:
                        env.config.set(section, name, value)
                    env.config.save()
                    answer = "ok"
                case "new":
                    answer = new(env, **request)
                case "change":
                    answer = change(env, **request)
                case "attach":
                    answer = attach(
                        env, request["number"], request["author"], request["name"], request["text"].encode()
                    )
            print(json.dumps({"ok": answer}), flush=True)
        except Exception as fault:
            print(json.dumps({"fault": f"{type(fault).__name__}: {fault}"}), flush=True)


main()
