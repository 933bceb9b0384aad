"""What is proved: each property is a function of a policy; its docstring states it, it gives what breaks it.

"Never" means: by no rule under any setting of any boolean; only booleans that loosen every service of a
distribution at once count as they are set. "By default" means: with every boolean as the policy sets it.
"""

from collections.abc import Callable

import network
from policy import DEFAULT, EVER, Policy, When
from terms import (
    CLIENT,
    CLIENT_PROGRAM,
    CLIENT_TMP,
    CONF,
    DAEMON,
    FILES,
    FOREIGN,
    LOG,
    NETWORK,
    PORT,
    PROGRAM,
    RUNTIME,
    SECRET,
    SPOOL,
    STATE,
    STATUS_PORT,
    SUBMISSION,
    WEB,
    Found,
    beyond,
    only,
)


def opens(policy: Policy, source: str) -> set[str]:
    """The types of files and folders that `source` can open to read, write or list: not what it is handed open."""
    files = policy.granted(source, "file", "open") & policy.granted(source, "file", "read write append")
    return files | (policy.granted(source, "dir", "open") & policy.granted(source, "dir", "read"))


def changes(policy: Policy, source: str) -> set[str]:
    """The types of files that `source` can change by opening them, make or remove."""
    written = policy.granted(source, "file", "open") & policy.granted(source, "file", "write append")
    return written | policy.granted(source, "file", "create unlink rename link")


# --- the domain -----------------------------------------------------------------------------------


def starts(policy: Policy) -> Found:
    """systemd starts the relay in its own domain."""
    return [] if policy.transition("init_t", PROGRAM) == DAEMON and enters(policy, "init_t") else ["it does not"]


def starts_without_privileges(policy: Policy) -> Found:
    """It does so under NoNewPrivileges=yes, too."""
    if "nnp_nosuid_transition" not in policy.capabilities:
        yield "the policy does not know nnp_nosuid_transition"
    if not policy.granted("init_t", "process2", "nnp_transition", to=DAEMON):
        yield "init_t has no nnp_transition"


def enters(policy: Policy, source: str, when: When = EVER) -> set[str]:
    """The relay's domain, when `source` may change into it."""
    return policy.granted(source, "process", "transition dyntransition", when, to=DAEMON)


def entered_by_its_program_only(policy: Policy) -> Found:
    """Nothing but the relay's program leads into its domain."""
    return beyond(policy.granted(DAEMON, "file", "entrypoint"), {PROGRAM})


def not_entered_from_the_web(policy: Policy) -> Found:
    """No web application may start the relay, never."""
    return [web for web in WEB if enters(policy, web)]


def commands_stay_outside(policy: Policy) -> Found:
    """An administrator's command (tracker-relay queue, check, ...) stays in his own domain."""
    users = ("unconfined_t", "sysadm_t", "staff_t", "user_t")
    return [user for user in users if policy.transition(user, PROGRAM)]


def confined(policy: Policy) -> Found:
    """Neither the relay nor its sendmail program is unconfined or permissive."""
    for name in (DAEMON, CLIENT):
        yield from (f"{name} has {a}" for a in policy.attributes(name) if "unconfined" in a)
        if policy.permissive(name):
            yield f"{name} is permissive"


# --- what the relay may do ------------------------------------------------------------------------


def runs_nothing(policy: Policy) -> Found:
    """It runs no other program in its domain, never: no shell, no interpreter."""
    return sorted(policy.granted(DAEMON, "file", "execute_no_trans"))


def maps_no_shell(policy: Policy) -> Found:
    """It may not even map a shell."""
    return sorted(policy.granted(DAEMON, "file", "execute map", to="shell_exec_t"))


def changes_to_nothing(policy: Policy) -> Found:
    """It changes into no other domain, never."""
    return only(policy.granted(DAEMON, "process", "transition dyntransition"), {DAEMON})


def no_capability(policy: Policy) -> Found:
    """It holds no capability."""
    kinds = ("capability", "capability2", "cap_userns", "cap2_userns")
    return sorted({perm for r in policy.rules(DAEMON, cls=kinds) for perm in r.perms})


def no_strange_memory(policy: Policy) -> Found:
    """Its memory is never writable and executable, and it debugs nobody."""
    for perm in ("execmem", "execheap", "execstack", "ptrace", "setexec", "setcurrent", "setfscreate", "setrlimit"):
        yield from (f"{perm} {t}" for t in policy.granted(DAEMON, "process", perm))
    # Old libraries that write to their own code; the policy lets every domain do that.
    yield from only(policy.granted(DAEMON, "file", "execmod"), {"textrel_shlib_t"})


def leaves_others_alone(policy: Policy) -> Found:
    """It sends no signal to another process and looks into none."""
    for perm in ("sigkill", "sigstop", "signal", "getattr", "setsched", "share"):
        yield from (f"{perm} {t}" for t in only(policy.granted(DAEMON, "process", perm), {DAEMON}))
    yield from (f"reads {t}" for t in sorted(opens(policy, DAEMON) & (policy.members("domain") - {DAEMON})))


def asks_nothing_of_the_kernel(policy: Policy) -> Found:
    """It administrates nothing: no kernel, no service, no keys of others, no shared memory of others."""
    kernel = "system security service bpf perf_event io_uring anon_inode user_namespace kernel_service"
    yield from sorted({r.cls for r in policy.rules(DAEMON, cls=tuple(kernel.split()))})
    for cls in ("key", "sem", "shm", "msgq", "ipc"):
        rules = policy.rules(DAEMON, cls)
        yield from sorted({f"{cls} {perm}" for r in rules if r.targets - {DAEMON} for perm in r.perms})


def writes(policy: Policy) -> Found:
    """It changes no file but in its spool, its state and its log, never: not its program, configuration, or /tmp."""
    # Debian opens what the system's start leaves in a tmpfs to every daemon.
    return only(changes(policy, DAEMON), {SPOOL, STATE, LOG, DAEMON, "init_tmpfs_t"})


def keeps(policy: Policy) -> Found:
    """It keeps mail, tokens, MTA-STS policies: it makes, locks, replaces, removes files in its spool and state."""
    for kind in (SPOOL, STATE):
        for perm in ("create", "open", "read", "write", "rename", "unlink", "lock"):
            if not policy.granted(DAEMON, "file", perm, DEFAULT, to=kind):
                yield f"{kind}: file: no {perm}"
        for perm in ("create", "open", "read", "add_name", "remove_name"):
            if not policy.granted(DAEMON, "dir", perm, DEFAULT, to=kind):
                yield f"{kind}: folder: no {perm}"


def log_grows_only(policy: Policy) -> Found:
    """It adds to its log, and can change or remove nothing that stands there."""
    rules = policy.rules(DAEMON, "file", "write unlink rename link", to=LOG)
    return sorted({perm for r in rules for perm in r.perms & {"write", "unlink", "rename", "link"}})


def folders(policy: Policy) -> Found:
    """It adds and removes names in its own folders only."""
    return only(policy.granted(DAEMON, "dir", "add_name remove_name"), {SPOOL, STATE, LOG, RUNTIME})


def write_or_run(policy: Policy) -> Found:
    """What it can write it can not run."""
    written = policy.granted(DAEMON, "file", "write append create")
    return sorted(written & policy.granted(DAEMON, "file", "execute execute_no_trans entrypoint"))


def relabels_and_mounts_nothing(policy: Policy) -> Found:
    """It gives no file another label and mounts nothing."""
    rules = list(policy.rules(DAEMON, FILES, "relabelfrom relabelto mounton"))
    rules += policy.rules(DAEMON, "filesystem", "mount remount unmount relabelfrom relabelto")
    return sorted({t for r in rules for t in r.targets})


def foreign_files(policy: Policy) -> Found:
    """It never opens passwords, homes, keys, web sites, databases, mailboxes or the audit log of this host."""
    return sorted(opens(policy, DAEMON) & set(FOREIGN))


def devices(policy: Policy) -> Found:
    """It opens no disk, and of the devices only terminals, null, zero and random numbers."""
    yield from sorted(policy.granted(DAEMON, "blk_file", "open read write"))
    known = {"null_device_t", "zero_device_t", "urandom_device_t", "random_device_t", "console_device_t", "devtty_t"}
    terminals = {"tty_device_t", "devpts_t", "initrc_devpts_t"} | policy.members("ttynode") | policy.members("ptynode")
    yield from only(policy.granted(DAEMON, "chr_file", "open"), known | terminals)


def local_sockets(policy: Policy) -> Found:
    """Of the programs on this host it speaks with systemd, the log and the name services only."""
    names = {"nscd_t", "avahi_t", "systemd_resolved_t", "setrans_t"}
    system = {DAEMON, "init_t", "syslogd_t", "kernel_t", "systemd_socket_proxyd_t"}
    kinds = ("unix_stream_socket", "unix_dgram_socket")
    return only(policy.granted(DAEMON, kinds, "connectto sendto"), names | system)


# --- who may submit -------------------------------------------------------------------------------


def submits(policy: Policy, source: str, when: When) -> dict[str, bool]:
    """By which ways `source` may hand over mail."""
    return {
        "the port": bool(policy.granted(source, "tcp_socket", "name_connect", when, to=PORT)),
        "the submission socket": bool(
            policy.granted(source, "sock_file", "write", when, to=SUBMISSION)
            and policy.granted(source, "unix_stream_socket", "connectto", when, to=DAEMON)
        ),
        "the sendmail program": bool(
            policy.granted(source, "process", "transition", when, to=CLIENT)
            and policy.granted(source, "file", "execute", when, to=CLIENT_PROGRAM)
            and policy.transition(source, CLIENT_PROGRAM) == CLIENT
        ),
    }


def web_submits(policy: Policy) -> Found:
    """Web applications and CGI scripts hand over mail by port, socket and program, by default: no httpd boolean."""
    return [f"{web}: not by {way}" for web in WEB for way, open_ in submits(policy, web, DEFAULT).items() if not open_]


def web_submits_no_more(policy: Policy) -> Found:
    """One boolean, tracker_relay_web_submit, ends all three."""
    off = {"tracker_relay_web_submit": False}
    return [f"{web}: still by {way}" for web in WEB for way, open_ in submits(policy, web, off).items() if open_]


def web_reaches_no_mail_server(policy: Policy) -> Found:
    """Web applications reach no mail server themselves, by default."""
    return [web for web in WEB if policy.granted(web, "tcp_socket", "name_connect", DEFAULT, to="smtp_port_t")]


def web_reads_nothing(policy: Policy) -> Found:
    """No web application ever opens configuration, passwords, tokens, mail or log of the relay, or lists a folder."""
    for web in WEB:
        found = (opens(policy, web) | changes(policy, web)) & {*SECRET, LOG}
        yield from (f"{web}: {t}" for t in sorted(found))


def web_has_no_say(policy: Policy) -> Found:
    """No web application ever reaches the control socket, by which the queue is administered."""
    return [web for web in WEB if policy.granted(web, "sock_file", "write", to=RUNTIME)]


def nobody_takes_its_place(policy: Policy) -> Found:
    """No web application ever puts a socket of its own in the place of the relay's."""
    for web in WEB:
        if policy.granted(web, "dir", "add_name remove_name", to=RUNTIME):
            yield f"{web}: may change the folder"
        if policy.granted(web, "tcp_socket", "name_bind", DEFAULT) & {PORT, STATUS_PORT}:
            yield f"{web}: may bind the port"


def status_page(policy: Policy) -> Found:
    """The web server reaches the status page only with tracker_relay_web_status on; scripts do not even then."""
    opened = {"tracker_relay_web_status": True}
    for web in WEB:
        if policy.granted(web, "tcp_socket", "name_connect", DEFAULT, to=STATUS_PORT):
            yield f"{web}: by default"
    if not policy.granted("httpd_t", "tcp_socket", "name_connect", opened, to=STATUS_PORT):
        yield "httpd_t: not even with the boolean"
    if policy.granted("httpd_sys_script_t", "tcp_socket", "name_connect", opened, to=STATUS_PORT):
        yield "httpd_sys_script_t: with the boolean"


# --- the sendmail program -------------------------------------------------------------------------


def client_connects(policy: Policy) -> Found:
    """The sendmail program connects to the relay and to no other port, never."""
    return beyond(policy.granted(CLIENT, NETWORK, "name_connect"), {PORT})


def client_runs_nothing(policy: Policy) -> Found:
    """It runs no other program, changes into no domain, binds no port and holds no capability."""
    yield from policy.granted(CLIENT, "file", "execute_no_trans")
    yield from only(policy.granted(CLIENT, "process", "transition dyntransition"), {CLIENT})
    yield from policy.granted(CLIENT, NETWORK, "name_bind")
    yield from {r.cls for r in policy.rules(CLIENT, cls=("capability", "capability2", "cap_userns", "cap2_userns"))}


def client_reads_nothing(policy: Policy) -> Found:
    """It never opens configuration, tokens, mail or log of the relay, nor files of others."""
    return sorted(opens(policy, CLIENT) & {*SECRET, LOG, *FOREIGN})


def client_writes(policy: Policy) -> Found:
    """It writes files of its own in /tmp, and can not run them."""
    written = changes(policy, CLIENT)
    yield from only(written, {CLIENT_TMP, CLIENT})
    run = policy.granted(CLIENT, "file", "execute execute_no_trans entrypoint")
    yield from (f"runs {t}" for t in sorted(written & run))


# --- who else -------------------------------------------------------------------------------------


def secrets(policy: Policy) -> Found:
    """Configuration, passwords and tokens are read by nobody who may not read /etc/shadow, systemd apart."""
    shadow = policy.holders("shadow_t", "file", "read open")
    for kind, own in ((CONF, {DAEMON, "init_t"}), (STATE, {DAEMON})):
        yield from (f"{who}: {kind}" for who in only(policy.holders(kind, "file", "read open"), shadow | own))


def mail(policy: Policy) -> Found:
    """Queued mail is read by nobody who may not read /etc/shadow, and changed by nobody who may not change that."""
    for perms in ("read open", "write append unlink rename"):
        trusted = policy.holders("shadow_t", "file", perms) | {DAEMON}
        yield from (f"{who}: {perms}" for who in only(policy.holders(SPOOL, "file", perms), trusted))


PROPERTIES: tuple[Callable[[Policy], Found], ...] = (
    network.ports,
    starts,
    starts_without_privileges,
    entered_by_its_program_only,
    not_entered_from_the_web,
    commands_stay_outside,
    confined,
    network.connects,
    network.connects_ever,
    network.connects_by_its_own_booleans,
    network.asks_dns,
    network.knows_its_own_addresses,
    network.knows_the_authorities,
    network.binds,
    network.sockets,
    runs_nothing,
    maps_no_shell,
    changes_to_nothing,
    no_capability,
    no_strange_memory,
    leaves_others_alone,
    asks_nothing_of_the_kernel,
    writes,
    keeps,
    log_grows_only,
    folders,
    write_or_run,
    relabels_and_mounts_nothing,
    foreign_files,
    devices,
    local_sockets,
    web_submits,
    web_submits_no_more,
    web_reaches_no_mail_server,
    web_reads_nothing,
    web_has_no_say,
    nobody_takes_its_place,
    status_page,
    client_connects,
    client_runs_nothing,
    client_reads_nothing,
    client_writes,
    secrets,
    mail,
)
