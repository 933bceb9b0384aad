"""[client:NAME] and a profile's limits at the listener: the replies, and that others go on."""

from dataclasses import replace

from relay.limits import ClientOptions, Limits, ProfileLimits, client_matches, path_list

MAIL = b"Subject: hi\r\n\r\nhello\r\n.\r\n"


def limited(stage, *, profiles=None, **options):
    client = ClientOptions(client_matches("host: 127.0.0.0/8"), **options)
    made = Limits((("trackers", client),) if options else (), profiles or {})
    unlimited = stage.setting
    stage.setting = lambda: replace(unlimited(), limits=made)


def test_senders_and_recipients_of_a_client(stage, run):
    limited(stage, senders=path_list("@t.example.com, <>"), recipients=path_list("@example.org, bob"))

    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (
                await talk.say("MAIL FROM:<a@evil.example>") == "550 5.7.1 this client may not send from that address"
            )
            assert (await talk.say("MAIL FROM:<>")).startswith("250")
            await talk.say("RSET")
            assert (await talk.say("MAIL FROM:<h@t.example.com>")).startswith("250")
            refused = await talk.say("RCPT TO:<x@evil.example>")
            assert refused == "550 5.7.1 this client may not send to that address"
            assert (await talk.say("RCPT TO:<bob>", "RCPT TO:<eve@example.org>", "DATA")).startswith("354")
            await talk.send(MAIL)
            assert (await talk.reply()).startswith("250")
        entry = await stage.entry()
        assert [str(r.address) for r in entry.envelope.recipients] == ["bob", "eve@example.org"]
        assert entry.refused_paths == ("<x@evil.example>",), "it stands in the history"

    run(story)


def test_mails_in_a_minute_whatever_the_number_of_connections(stage, run):
    limited(stage, mails_per_minute=3)

    async def story():
        async with stage.listening():
            for _ in range(3):
                async with stage.client() as talk:
                    assert (await talk.mail(MAIL)).startswith("250")
            async with stage.client() as talk:
                over = "452 4.7.1 more than 3 mails in a minute, try again later"
                assert [await talk.say("MAIL FROM:<>") for _ in range(30)] == [over] * 30
                assert (await talk.say("NOOP")).startswith("250"), "a fault of time is no error of the client's"

    run(story)


def test_recipients_in_a_minute_fail_the_whole_mail_visibly(stage, run):
    """A tracker counts a partly refused list as sent: so DATA says it, too."""
    limited(stage, recipients_per_minute=2)

    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.say("MAIL FROM:<>", "RCPT TO:<a@b.example>", "RCPT TO:<c@b.example>")
            over = "452 4.7.1 more than 2 recipients in a minute, try again later"
            assert await talk.say("RCPT TO:<d@b.example>") == over
            assert await talk.say("DATA") == over
        assert await stage.kept() == []

    run(story)


def test_recipients_in_a_minute_defer_also_a_mail_whose_first_one_is_over(stage, run):
    """Every reply says "later": a permanent one to DATA would lose the mail."""
    limited(stage, recipients_per_minute=1)

    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.mail(MAIL)).startswith("250")
            await talk.say("MAIL FROM:<>")
            over = "452 4.7.1 more than 1 recipients in a minute, try again later"
            assert [await talk.say("RCPT TO:<a@b.example>"), await talk.say("DATA")] == [over] * 2

    run(story)


def test_mails_for_a_profile(stage, run):
    limited(stage, profiles={"notification": ProfileLimits(accept_per_day=1)})

    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.mail(MAIL)).startswith("250")
            assert await talk.mail(MAIL) == "452 4.7.1 more than 1 mails in a day, try again later"
        assert len(await stage.kept()) == 1

    run(story)


def test_what_was_kept_already_is_no_further_mail(stage, run):
    """A tracker that never heard our 250 sends again: it hears it now, and neither of both uses up what others may send."""
    limited(stage, profiles={"notification": ProfileLimits(accept_per_day=2)})
    known = b"Message-ID: <1@t.example.com>\r\n" + MAIL

    async def story():
        async with stage.listening(), stage.client() as talk:
            first = await talk.mail(known)
            assert [await talk.mail(known) for _ in range(3)] == [first] * 3
            assert (await talk.mail(MAIL)).startswith("250")
            assert (await talk.mail(MAIL)).startswith("452 4.7.1")
            assert await talk.mail(known) == first
            other = known.replace(b"1@", b"2@")
            assert [(await talk.mail(other))[:3] for _ in range(2)] == ["452", "452"], "refused, it is not known"
        assert len(await stage.kept()) == 2

    run(story)
