"""The guest's side of the test: checks told over the serial console, commands, web requests, the audit log."""

import glob
import json
import re
import subprocess
import time
import urllib.request

UNIT = "tracker-relay"
_console = open("/dev/ttyS0", "w", buffering=1)  # noqa: SIM115 - as long as the machine runs


def tell(**row):
    _console.write("@@ " + json.dumps(row) + "\n")


def note(text):
    tell(note=str(text)[:2000])


def check(name, ok, detail=""):
    tell(check=name, ok=bool(ok), detail=str(detail)[:600])


def sh(*command):
    """What a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    return done.stdout + done.stderr


def succeeds(*command):
    """Whether a command ends with status 0; what it says otherwise is told."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        note(f"{' '.join(command)}: status {done.returncode}: {done.stdout}{done.stderr}")
        note(sh("journalctl", "-n", "6", "--no-pager", "-o", "cat"))
    return done.returncode == 0


def web(path, wanted):
    """Deeds of a web application: /wsgi runs in httpd_t, /cgi/lab.cgi in httpd_sys_script_t."""
    request = urllib.request.Request("http://127.0.0.1" + path, data=json.dumps(wanted).encode())
    try:
        return json.load(urllib.request.urlopen(request, timeout=400))
    except Exception as fault:
        return [["HTTP", repr(fault)]] * len(wanted)


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.3)
    return value


def active():
    return until(lambda: sh("systemctl", "is-active", UNIT).strip() == "active")


def domain():
    """The domain of the running daemon, or why it can not be told."""
    said = sh("systemctl", "show", "-P", "MainPID", UNIT).strip()
    try:
        with open(f"/proc/{said}/attr/current") as file:
            return file.read().strip("\0\n").split(":")[2]
    except (OSError, IndexError) as fault:
        return f"{said}: {fault}"


def boolean(name, *, on):
    check(f"{name} can be switched", succeeds("setsebool", name, "on" if on else "off"))


def configured(text, path="/etc/tracker-relay/config.ini"):
    """The relay's configuration from now on; owner and mode stay."""
    with open(path, "w") as file:
        file.write(text)


_RECORD = re.compile(r"type=(?:AVC|USER_AVC|SELINUX_ERR|USER_SELINUX_ERR) msg=audit\((\d+\.\d+):(\d+)\)")
_CHANGE_OF_DOMAIN = re.compile(r"\{ (?:noatsecure|rlimitinh|siginh) \}")


def denials(since=0.0):
    """(those that name the relay, those that name the web server, the rest of the system's), as audit lines."""
    ours, webs, rest = [], [], []
    for path in sorted(glob.glob("/var/log/audit/audit.log*")):
        with open(path, errors="replace") as file:
            for line in file:
                found = _RECORD.match(line)
                if not found or float(found[1]) < since or _CHANGE_OF_DOMAIN.search(line):
                    continue
                if re.search(r":tracker_relay_\w+:|comm=\"(?:\(?tracker-relay)", line):
                    ours.append(line.strip())
                elif "httpd_" in line:
                    webs.append(line.strip())
                else:
                    rest.append(line.strip())
    return ours, webs, rest


def account(what, allowed=None):
    """No denial of the relay or the web server since the last time, but those that say `allowed`, which must be there."""
    time.sleep(1)
    ours, webs, rest = denials()
    expected = [line for line in ours if allowed and allowed in line]
    ours = [line for line in ours if line not in expected]
    for line in [*ours, *webs]:
        note(line)
    counted = f"{len(ours)} of the relay, {len(webs)} of httpd, {len(rest)} of the rest of the system"
    check(f"no denial of the relay: {what}", not ours, counted)
    check(f"no denial of the web server: {what}", not webs, counted)
    if allowed:
        check(f"but what was asked for on purpose: {what}", expected, counted)


def forget():
    """What has been denied so far was asked for on purpose, and refused: no part of the next account."""
    sh("sh", "-c", "systemctl kill -s USR1 auditd; sleep 1; rm -f /var/log/audit/audit.log.*")
