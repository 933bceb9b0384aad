"""The house: floors, sizes, no circle, and no room that nobody described."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

RELAY = Path(__file__).resolve().parents[2] / "relay"
ROOT = RELAY.parent

FLOORS = [
    {"address", "message", "mail", "reply", "entry", "options", "errors", "charsets", "encoded_word", "mailboxes", "places", "records", "immutable"},
    {
        "dialects", "people", "notify", "transfer", "patch", "contenttype", "scan", "change", "fields", "downgrade", "mime", "policy", "recipients", "headers", "wire", "rewrite", "changelines", "routing", "inheriting", "routes", "profiles", "addressing",
        "services", "credentials",
        "admission", "limits", "passwords", "challenge", "dataphase", "prepare", "shares", "search", "status", "exchangers", "dsn", "retry", "dkim", "tls", "securing", "der", "auth", "oauth", "transaction", "pool", "transcript", "secondtry", "fit", "holds", "refusals", "manners", "dane", "mtasts",
    },
    {"server", "connection", "surroundings", "listening", "gate", "login", "crowd", "duplicates", "descriptors", "upstream", "link", "known", "account", "dialogue", "lookup", "resolver", "discovery", "outbox", "spool", "journal", "loglines", "unixsocket", "systemd", "https", "tokenstore", "proving", "linkfault", "tlsa", "policies", "namedfile"},
    {"delivery", "lanes", "stranded", "turns", "history", "reports", "events", "queue", "hops", "suppression", "canary", "renewal", "tokens"},
    {"config", "loaded", "inifile", "sections", "secretfile", "checks", "profile_checks", "route_checks", "client_checks", "oauth_checks", "startlines", "authorize", "reference", "app", "runner", "statuspage", "web", "cli", "commands", "control", "explain", "importing", "sendmail", "doctor", "__main__"},
]  # fmt: skip
BANNED_BELOW_2 = {"asyncio", "socket", "ssl", "os", "time", "random", "threading", "logging"}
EDGES = [
    {"server", "connection", "surroundings", "listening", "gate", "login", "crowd", "duplicates"},
    {
        "upstream",
        "link",
        "account",
        "known",
        "dialogue",
        "lookup",
        "resolver",
        "proving",
        "discovery",
        "linkfault",
        "tlsa",
    },
    {"outbox"},
    {"spool"},
    {"systemd"},
    {"https"},
    {"tokenstore"},
    {"policies"},
]
"""Each with its siblings: edges never import each other."""


def room(path):
    relative = path.relative_to(RELAY)
    return relative.parts[0].removesuffix(".py")


def modules():
    return [path for path in sorted(RELAY.rglob("*.py")) if path != RELAY / "__init__.py"]


def imports(path):
    """(module, names) of every import outside a function."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module, tuple(alias.name for alias in node.names)


def rooms_used(path):
    for module, names in imports(path):
        if module == "relay":
            yield from (name for name in names if (RELAY / f"{name}.py").exists() or (RELAY / name).is_dir())
        elif module and module.startswith("relay."):
            yield module.split(".")[1]


def floor(name):
    [number] = [n for n, rooms in enumerate(FLOORS) if name in rooms]
    return number


def test_every_room_stands_on_a_floor():
    assert {room(path) for path in modules()} == set().union(*FLOORS)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(RELAY)))
def test_a_room_imports_from_its_own_floor_or_below(path):
    own = floor(room(path))
    for used in rooms_used(path):
        assert floor(used) <= own, f"{room(path)} (floor {own}) imports {used} (floor {floor(used)})"
    if own < 2:
        banned = {module.split(".")[0] for module, _ in imports(path)} & BANNED_BELOW_2
        assert not banned, f"{room(path)} on floor {own} imports {banned}"


def test_edges_do_not_import_each_other():
    for group in EDGES:
        others = set().union(*EDGES) - group
        for path in modules():
            if room(path) in group:
                used = set(rooms_used(path)) & others
                # The listener puts mail into a spool: it knows the Protocol, not the engines.
                assert used <= {"spool"}, (path, used)


def test_no_import_circle():
    graph = {name: set() for name in set().union(*FLOORS)}
    for path in modules():
        tree = ast.parse(path.read_text())
        top = ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], [])
        text = ast.unparse(top)
        (names,) = (set(),)
        for module, wanted in re.findall(r"from (relay[\w.]*) import (.+)", text):
            names |= (
                {w.strip() for w in wanted.split(",")} & set(graph) if module == "relay" else {module.split(".")[1]}
            )
        graph[room(path)] |= names - {room(path)}
    done, path = set(), []

    def visit(name):
        assert name not in path, f"circle: {' -> '.join([*path, name])}"
        if name in done:
            return
        path.append(name)
        for used in graph[name]:
            visit(used)
        done.add(path.pop())

    for name in graph:
        visit(name)


def test_no_file_over_400_lines():
    for path in [*RELAY.rglob("*.py"), *(ROOT / "contrib").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        assert len(path.read_text().splitlines()) <= 400, path


def test_every_room_is_described():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for name in set().union(*FLOORS) - {"__main__"}:
        assert f"`{name}.py`" in text or f"`{name}/`" in text, name


def test_the_project_speaks_of_itself_alone():
    words = re.compile(r"/work/|/root/|registry\.|pypi\.org|files\.pythonhosted")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in tracked or [str(p.relative_to(ROOT)) for p in RELAY.rglob("*.py")]:
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            assert not words.search(path.read_text(errors="replace")), path
