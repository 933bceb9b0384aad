"""Each property can fail: the module is weakened line by line, and exactly the property that speaks of it breaks.

Many weaknesses share one link, which takes seconds: what is found names its cause, so none hides behind another.
"""

import json
import re

D, C = "tracker_relay_t", "tracker_relay_client_t"
ADDED = [
    # (property, what it must find, the line that weakens the module)
    ("entered_by_its_program_only", "bin_t", f"allow {D} bin_t:file entrypoint;"),
    ("not_entered_from_the_web", "httpd_t", f"allow httpd_t {D}:process transition;"),
    ("commands_stay_outside", "unconfined_t", f"type_transition unconfined_t tracker_relay_exec_t:process {D};"),
    ("confined", f"{C} is permissive", f"permissive {C};"),
    ("connects", "http_port_t", f"allow {D} http_port_t:tcp_socket name_connect;"),
    (
        "connects_ever",
        "mysqld_port_t",
        f"if (tracker_relay_connect_https) {{ allow {D} mysqld_port_t:tcp_socket name_connect; }}",
    ),
    (
        "connects_by_its_own_booleans",
        "http_port_t is open without tracker_relay_connect_https",
        f"if (tracker_relay_web_status) {{ allow {D} http_port_t:tcp_socket name_connect; }}",
    ),
    ("knows_its_own_addresses", "UDP port: ntp_port_t", f"allow {D} ntp_port_t:udp_socket name_bind;"),
    ("binds", "http_port_t", f"allow {D} http_port_t:tcp_socket name_bind;"),
    ("sockets", "packet_socket", f"allow {D} self:packet_socket create;"),
    ("runs_nothing", "bin_t", f"allow {D} bin_t:file execute_no_trans;"),
    ("maps_no_shell", "shell_exec_t", f"allow {D} shell_exec_t:file map;"),
    ("changes_to_nothing", "sendmail_t", f"allow {D} sendmail_t:process transition;"),
    ("no_capability", "net_bind_service", f"allow {D} self:capability net_bind_service;"),
    ("no_strange_memory", f"execmem {D}", f"allow {D} self:process execmem;"),
    ("leaves_others_alone", "signal httpd_t", f"allow {D} httpd_t:process signal;"),
    ("asks_nothing_of_the_kernel", "key write", f"allow {D} httpd_t:key write;"),
    ("writes", "tracker_relay_conf_t", f"allow {D} tracker_relay_conf_t:file {{ open write }};"),
    ("log_grows_only", "unlink", f"allow {D} tracker_relay_log_t:file unlink;"),
    ("folders", "tmp_t", f"allow {D} tmp_t:dir add_name;"),
    ("write_or_run", "tracker_relay_spool_t", f"allow {D} tracker_relay_spool_t:file execute;"),
    ("relabels_and_mounts_nothing", "tracker_relay_state_t", f"allow {D} tracker_relay_state_t:file relabelto;"),
    ("foreign_files", "user_home_t", f"allow {D} user_home_t:file {{ open read }};"),
    ("devices", "fixed_disk_device_t", f"allow {D} fixed_disk_device_t:blk_file read;"),
    ("local_sockets", "postgresql_t", f"allow {D} postgresql_t:unix_stream_socket connectto;"),
    (
        "web_submits_no_more",
        "httpd_t: still by the port",
        "allow httpd_t tracker_relay_port_t:tcp_socket name_connect;",
    ),
    (
        "web_reaches_no_mail_server",
        "httpd_sys_script_t",
        "allow httpd_sys_script_t smtp_port_t:tcp_socket name_connect;",
    ),
    ("web_reads_nothing", "httpd_t: tracker_relay_log_t", "allow httpd_t tracker_relay_log_t:file { open read };"),
    ("web_has_no_say", "httpd_t", "allow httpd_t tracker_relay_runtime_t:sock_file write;"),
    ("nobody_takes_its_place", "httpd_t: may change the folder", "allow httpd_t tracker_relay_runtime_t:dir add_name;"),
    ("status_page", "httpd_t: by default", "allow httpd_t tracker_relay_status_port_t:tcp_socket name_connect;"),
    ("client_connects", "smtp_port_t", f"allow {C} smtp_port_t:tcp_socket name_connect;"),
    ("client_runs_nothing", "bin_t", f"allow {C} bin_t:file execute_no_trans;"),
    ("client_reads_nothing", "mail_spool_t", f"allow {C} mail_spool_t:file {{ open read }};"),
    ("client_writes", "runs tracker_relay_client_tmp_t", f"allow {C} tracker_relay_client_tmp_t:file execute;"),
    ("secrets", "ntpd_t: tracker_relay_conf_t", "allow ntpd_t tracker_relay_conf_t:file { open read };"),
    ("mail", "ntpd_t: read open", "allow ntpd_t tracker_relay_spool_t:file { open read };"),
]
CHANGED = [
    # (properties, what one of them must find, file, old, new)
    ({"ports"}, "8025: ", "tracker_relay_port.cil", "tcp 8025", "tcp 8026"),
    (
        {"starts", "starts_without_privileges", "entered_by_its_program_only"},
        "init_t has no nnp_transition",
        "tracker_relay.te",
        "init_daemon_domain(tracker_relay_t, tracker_relay_exec_t)",
        "domain_type(tracker_relay_t)\nrole system_r types tracker_relay_t;\nfiles_type(tracker_relay_exec_t)",
    ),
    (
        {"connects_by_its_own_booleans"},
        "tracker_relay_connect_2525 does not open tracker_relay_port_t",
        "tracker_relay.te",
        "tunable_policy(`tracker_relay_connect_2525'",
        "tunable_policy(`tracker_relay_connect_https'",
    ),
    (
        {"asks_dns", "connects"},
        "no DNS over TCP",
        "tracker_relay.te",
        "sysnet_dns_name_resolve(tracker_relay_t)",
        "sysnet_read_config(tracker_relay_t)",
    ),
    (
        {"knows_its_own_addresses"},
        "no node_bind",
        "tracker_relay.te",
        "corenet_udp_bind_generic_node(tracker_relay_t)\n",
        "",
    ),
    ({"knows_the_authorities"}, "", "tracker_relay.te", "miscfiles_read_generic_certs(tracker_relay_t)\n", ""),
    (
        {"keeps"},
        "tracker_relay_spool_t: file: no create",
        "tracker_relay.te",
        "manage_files_pattern(tracker_relay_t, tracker_relay_spool_t, tracker_relay_spool_t)",
        "rw_files_pattern(tracker_relay_t, tracker_relay_spool_t, tracker_relay_spool_t)",
    ),
    ({"web_submits"}, "httpd_t: not by the port", "tracker_relay.te", "_web_submit, true", "_web_submit, false"),
    ({"mail"}, "", "tracker_relay.te", "files_auth_file(tracker_relay_spool_t)", "files_type(tracker_relay_spool_t)"),
    (
        {"secrets"},
        "",
        "tracker_relay.te",
        "files_auth_file(tracker_relay_conf_t)",
        "files_config_file(tracker_relay_conf_t)",
    ),
]


def weakened(text):
    """The module's source with all lines of ADDED in it."""
    lines = [line for _, _, line in ADDED]
    foreign = {name for line in lines for name in re.findall(r"\b(?!tracker_relay)\w+_t\b", line)}
    require = "gen_require(`\n\ttype " + ", ".join(sorted(foreign)) + ";\n')\n"
    return text + "\n" + require + "\n".join(lines) + "\n"


def test_an_added_line_breaks_the_property_that_speaks_of_it_and_no_other(link, tmp_path):
    weak = link({"tracker_relay.te": weakened})
    found = weak.prove()
    wrong = {name: found[name] for name, cause, _ in ADDED if cause not in found[name]}
    assert wrong == {}
    assert {name for name, broken in found.items() if broken} == {name for name, _, _ in ADDED}
    exceptions = tmp_path / "exceptions.json"
    exceptions.write_text(json.dumps({"leaves_others_alone": ["signal httpd_t"], "connects": ["http"]}))
    excepted = weak.prove(exceptions)
    assert excepted == {**found, "leaves_others_alone": []}, "an exception takes out what it names, and nothing else"


def edits():
    """CHANGED as one function for each file's text."""

    def of(rows):
        def change(text):
            for _, _, _, old, new in rows:
                assert text.count(old) == 1, old
                text = text.replace(old, new)
            return text

        return change

    return {file: of([row for row in CHANGED if row[2] == file]) for file in {row[2] for row in CHANGED}}


def test_a_changed_line_breaks_the_properties_that_speak_of_it_and_no_others(link):
    found = link(edits()).prove()
    for properties, cause, *_ in CHANGED:
        for name in properties:
            assert found[name], name
        assert any(cause in text for name in properties for text in found[name]), (cause, found)
    assert {name for name, broken in found.items() if broken} == set().union(*(row[0] for row in CHANGED))


def test_every_property_has_a_weakness_that_breaks_it(linked):
    assert set(linked.prove()) == {name for name, *_ in ADDED} | set().union(*(row[0] for row in CHANGED))
