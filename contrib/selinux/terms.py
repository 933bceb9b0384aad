"""The names that the properties speak of, and how what breaks one is told."""

from collections.abc import Iterable

DAEMON, PROGRAM = "tracker_relay_t", "tracker_relay_exec_t"
CLIENT, CLIENT_PROGRAM, CLIENT_TMP = (
    "tracker_relay_client_t",
    "tracker_relay_client_exec_t",
    "tracker_relay_client_tmp_t",
)
CONF, STATE, SPOOL, LOG = (
    "tracker_relay_conf_t",
    "tracker_relay_state_t",
    "tracker_relay_spool_t",
    "tracker_relay_log_t",
)
RUNTIME, SUBMISSION = "tracker_relay_runtime_t", "tracker_relay_submission_t"
PORT, STATUS_PORT = "tracker_relay_port_t", "tracker_relay_status_port_t"
WEB = ("httpd_t", "httpd_sys_script_t")
SECRET = (CONF, STATE, SPOOL)
RESOLV_CONF, AUTHORITIES = "net_conf_t", "cert_t"
PORTS = {
    2525: PORT,
    8025: STATUS_PORT,
    25: "smtp_port_t",
    465: "smtp_port_t",
    587: "smtp_port_t",
    53: "dns_port_t",
    443: "http_port_t",
}
"""The TCP ports that the relay has to do with, and their types."""
NETWORK = ("tcp_socket", "udp_socket", "sctp_socket", "dccp_socket", "rawip_socket")
FILES = ("file", "dir", "lnk_file", "sock_file", "fifo_file", "chr_file", "blk_file")
FOREIGN = (
    *("shadow_t", "user_home_t", "admin_home_t", "sshd_key_t", "auditd_log_t", "httpd_sys_content_t", "httpd_config_t"),
    *("mysqld_db_t", "postgresql_db_t", "mail_spool_t"),
)
"""Files of others that a mail relay has no use for: passwords, homes, keys, web sites, databases, mailboxes."""

Found = Iterable[str]
"""What breaks a property; nothing when it holds."""


def beyond(found: Iterable[str], allowed: Iterable[str]) -> Found:
    """What was found and is not allowed; and what should have been found."""
    found, allowed = set(found), set(allowed)
    return sorted(found - allowed) + [f"{name} is missing" for name in sorted(allowed - found)]


def only(found: Iterable[str], allowed: Iterable[str]) -> Found:
    """What was found and is not allowed."""
    return sorted(set(found) - set(allowed))
