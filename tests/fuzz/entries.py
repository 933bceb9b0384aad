"""Any octets are an entry or a ValueError, nothing else; what was read as an entry is written and read again as the same one.

The stored form (`relay/entry.py`), as it lies in the spool's database.
"""

from relay.entry import Entry, decode, encode
from tests.fuzz.engine import json_value

NAME = "entries"
SHARE = 1
CHANGES = (json_value,) * 8
CASES = 4000
TOKENS = (
    b'"v":1', b'"v":2', b'"v":3', b'"v":true', b'"v":2.0', b'"id":""', b'"received_at":1e999', b'"received_at":NaN', b'"state":"held"', b'"state":"done"', b'"state":["held"]', b'"envelope":{"from":null,"to":[],"body":"","smtputf8":false}',
    b'"to":[["a@b","rcpt:a@b",true]]', b'"client":{"address":"x"}', b'"client":{"x":1}', b'"answered":[]', b'"attempts":[]', b'"events":[[1,"a","b"]]', b'"events":"abc"', b'"refused_paths":"abc"', b'"refused_paths":[1]',
    b'"reply":[250,"2.0.0","ok"]', b'"reply":["x",1,null]', b'"disposition":"relayed"', b'"cause":"peer"', b'"delays":[0,0,0,0]', b'"delays":"abcd"', b'"size":-1', b'"size":"x"', b'"profile":null', b'"\\ud800"', b"[" * 3000, b"[[[", b"]]]", b"{", b"}", b",", b"true", b"1e5", b'"due":"soon"', b'"summary":7', b'"report":"no"',
)  # fmt: skip


def check(data):
    """One stored form."""
    try:
        entry = decode(data)
    except ValueError as fault:
        assert str(fault)
        return 1
    assert isinstance(entry, Entry)
    stored = encode(entry)
    assert decode(stored) == entry
    assert encode(decode(stored)) == stored
    return 1
