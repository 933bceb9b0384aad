"""Without the module: Trac's error 13, an unconfined relay; then `make install`, and it works. The checks can fail."""

import time

import confined
from confined import WEB, ways
from host import UNIT, active, check, denials, domain, note, sh, succeeds, web


def run(sink):
    check("the service is active", active(), sh("journalctl", "-u", UNIT, "-n", "20", "--no-pager"))
    where = domain()
    check("without the module the relay is not confined", where.endswith("_t") and "tracker_relay" not in where, where)
    for name, path in WEB:
        for way, answer in zip(ways(""), web(path, list(ways("bare").values())), strict=True):
            check(
                f"without the module {name} may not send by {way}", answer[0] != "ok" and not sink.find("bare-"), answer
            )
    [answer] = web("/wsgi", [["send_port", "bare"]])
    check("and sees Trac's error 13", answer == ["EACCES", "[Errno 13] Permission denied"], answer)
    confined.canaries()
    answers = confined.as_relay(sink, list(confined.deeds_of_an_intruder().values()))
    possible = sum(answer[0] not in confined.DENIED for answer in answers)
    check("without the module an intruder in the relay could do much", possible >= 20, f"{possible} of {len(answers)}")
    begun = time.monotonic()
    check("make install succeeds", succeeds("make", "-C", "/usr/src/tracker-relay/contrib/selinux", "install"))
    note(f"make install took {time.monotonic() - begun:.0f} s")
    check("the relay runs in its domain at once", active() and domain() == "tracker_relay_t", domain())
    for name, path in WEB:
        for way, deed in ways(f"then-{name}").items():
            answer = web(path, [deed])[0]
            check(f"with the module {name} sends by {way}", answer[0] == "ok" and sink.wait(deed[1]), answer)
    confined.labels("files and sockets have their labels")
    time.sleep(1)
    ours, webs, _ = denials()
    late = [line for line in ours + webs if ":tracker_relay_" in line]
    for line in late:
        note(line)
    check("no denial of the relay with the module", not late, len(late))
