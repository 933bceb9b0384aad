"""Attacks by addresses: each is refused, or leaves exactly as it was written."""

REFUSED = [
    "<a(comment)@b.test>", "<a@b.test(comment)>", "<(c)a@b.test>", "<@relay.test:a@b.test>", "<@a,@b:c@d.test>", '<"unclosed@b.test>',
    "<a b@c.test>", "< a@b.test>", "<a@b.test >", "<a@b.test", "a@b.test>", "<<a@b.test>>", "<a@b..test>", "<a@.b.test>", "<a@b.test.>",
    "<a@-b.test>", "<a@b-.test>", "<a@b@c.test>", "<a,b@c.test>", "<a;b@c.test>", "<a:b@c.test>", "<alice@evil.test)bob@good.test>",
    "<alice@evil.test bob@good.test>", "<a[b@c.test>", "<a]b@c.test>", "<a\\@b@c.test>", "<.a@b.test>", "<a.@b.test>", "<a..b@c.test>",
    "<@b.test>", "<a@>", "<@>", "<a@[127.0.0.1>", "<a@127.0.0.1]>", "<a@[256.1.1.1]>", "<a@[IPv6:gggg::1]>", "<a@[IPv6:::1%\u00e9]>", "<a@[x]>", "<a@b_c!.test>",
    "<a@b.test>junk", "<a@b.test><c@d.test>", "<a@b.test>,<c@d.test>", '<"a"b@c.test>', '<a"b"@c.test>', '<"a" @c.test>', "Name <a@b.test>",
    '"Name" <a@b.test>', "<a@" + "b" * 64 + ".test>", "<" + "a" * 250 + "@b.test>", "<a@" + "b." * 130 + "test>", "<a@b.test/../x>",
    "<=?utf-8?q?a=40evil?= @b.test>", "<a@=?utf-8?q?b?=.test>", "group:a@b.test;", "<\"a\\\"@b.test>", "<a@xn--.test>", "<a@b%00.test>",
]  # fmt: skip
OPAQUE = [
    "=?utf-8?q?x=0D=0ADATA?=", "=?utf-8?q?x=3E=20evil=40bad.test?=", "user%evil.example", "evil.example!user", "a!b!c", "a%b%c", "-oQ/tmp", "-f", "|/bin/sh",
    "/etc/passwd", "..", "../../x", "$(id)", "`id`", "${IFS}", "a;b", "a|b", "{x}", "%s%n", "'or'1'='1", "~root", "a+b=c", "#!/x", "a&b", "*", "root",
    '"a b"', '"a@b"', '"a,b"', '"a>b"', '"<a>"', '"a\\"b"', '".a"', '"a..b"', '" "', '""', '"-- "', '"a;b:c"', "a/b", "a=b", "a?b", "a^b",
]  # fmt: skip
"""Local parts that other programs read something into; those that are none are refused."""
LOOK_ALIKE = ["bob@exаmple.org", "bob@ExAmPlE.org", "bоb@example.org", "bob@example。org", "bob@ⓔxample.org", "bob@example.org\u200b", "bob\u202e@example.org", "bob@faß.example", "BOB@example.org", "bob@xn--exmple-4nf.org"]  # fmt: skip
"""Addresses that look like another: with SMTPUTF8 they leave as they are, or are refused."""
