"""Sections: which rooms' options each section of config.ini holds; and Trac's that have no effect here."""

import dataclasses
from typing import Any

from relay.admission import ListenerOptions
from relay.exchangers import MxOptions
from relay.journal import LogOptions
from relay.limits import ClientOptions, ProfileLimits
from relay.manners import MannersOptions
from relay.oauth import OAuthOptions
from relay.people import UserOptions
from relay.policy import Policy
from relay.profiles import MatchOptions
from relay.records import DnsOptions
from relay.retry import RetryOptions
from relay.routes import RouteOptions
from relay.routing import NOT_OF_ONE_HOP, NextHopOptions, SharingOptions
from relay.spool import SpoolOptions
from relay.status import StatusOptions
from relay.transaction import Timeouts

SECTIONS: dict[str, tuple[type, ...]] = {
    "listener": (ListenerOptions,),
    "spool": (SpoolOptions,),
    "retry": (RetryOptions,),
    "notification": (Policy, NextHopOptions, OAuthOptions, MannersOptions, ProfileLimits),
    "timeouts": (Timeouts,),
    "dns": (DnsOptions,),
    "mx": (MxOptions,),
    "status": (StatusOptions,),
    "log": (LogOptions,),
}

USERS = "users"
"""The section of free names: `login = Full Name <address>`."""
PREFIXED: dict[str, tuple[type, ...]] = {
    "notification": (MatchOptions, Policy, NextHopOptions, OAuthOptions, MannersOptions, ProfileLimits),
    "user": (UserOptions,),
    "upstream": (NextHopOptions, OAuthOptions, MannersOptions, SharingOptions),
    "route": (RouteOptions,),
    "client": (ClientOptions,),
}
"""Sections of the form [PREFIX:NAME], one for each name."""


def declared(section: str, kind: type) -> dict[str, "dataclasses.Field[Any]"]:
    """The options of a section that `kind` declares, by the names that they have there."""
    fields = {field.metadata["name"] or field.name: field for field in dataclasses.fields(kind) if field.metadata}
    if section.partition(":")[0] != "upstream":
        return fields
    return {name.removeprefix("smtp_"): field for name, field in fields.items() if name not in NOT_OF_ONE_HOP}


def kinds_of(section: str) -> tuple[type, ...]:
    """Whose options a section holds; nobody's when there is no such section."""
    prefix, _, name = section.partition(":")
    return PREFIXED.get(prefix, ()) if name else SECTIONS.get(section, ())


def names_of(section: str) -> list[str]:
    """The names of a section's options, those of secret files included."""
    names: list[str] = []
    for kind in kinds_of(section):
        for name, field in declared(section, kind).items():
            names += [name, f"{name}_file"] if field.metadata["secret"] else [name]
    return names


_TRAC_DECIDES = "the tracker decides that before the mail is sent; it has no effect here"
WITHOUT_EFFECT: dict[str, str] = {
    "admin_domains": _TRAC_DECIDES,
    "admit_domains": "one-label domains are accepted anyway; it has no effect here",
    "ambiguous_char_width": "the tracker lays out its text with it; it has no effect here",
    "batch_subject_template": "the tracker writes the subject with it; it has no effect here",
    "default_format.email": _TRAC_DECIDES,
    "email_address_resolvers": _TRAC_DECIDES,
    "email_sender": "the tracker chooses its way to the relay with it; it has no effect here",
    "message_id_hash": "the tracker writes the Message-ID, which is never changed; it has no effect here",
    "sendmail_path": "the tracker chooses its way to the relay with it; it has no effect here",
    "smtp_from_author": "From is smtp_from; `from = keep` lets the tracker's From stay. It has no effect here",
    "ticket_subject_template": "the tracker writes the subject with it; it has no effect here",
}
"""Options of trac.ini's [notification] that are accepted, and why they change nothing."""

OF_TRAC = (
    *("account-manager", "attachment", "browser", "changeset", "components", "git", "header_logo", "inherit"),
    *("intertrac", "interwiki", "logging", "mainnav", "metanav", "milestone", "mimeviewer", "notification-subscriber"),
    *("project", "query", "report", "repositories", "revisionlog", "roadmap", "search", "spam-filter", "sqlite", "svn"),
    *("ticket", "ticket-custom", "ticket-workflow", "timeline", "trac", "versioncontrol", "wiki"),
)
"""Sections of a trac.ini that are none of ours."""
