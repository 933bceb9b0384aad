"""Places: where things are when nobody says otherwise."""

CONFIG = "/etc/tracker-relay/config.ini"
"""The configuration of the installed relay."""
RUN = "/run/tracker-relay"
"""Where the installed relay's sockets are."""
LOGS = "/var/log/tracker-relay"
"""The folder of its log, if it has a file: the service's unit makes it at each start (LogsDirectory)."""


def submission_socket(config: str) -> str:
    """Where the relay of this configuration (an absolute path) takes mail from the sendmail drop-in.

    It follows from the path alone: the drop-in runs as users who may not read the file.
    """
    if config == CONFIG:
        return f"{RUN}/submission.sock"
    return f"{config.rpartition('/')[0]}/var/submission.sock"
