"""A token server over TLS that keeps its books strictly, and misbehaves on demand. It runs in a thread of its own."""

import asyncio
import email.utils
import json
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qs, parse_qsl, urlsplit


@dataclass
class TokenServer:
    """`script`: answers for the next requests to a path, each (status, body) or (status, body, fields) or octets or a
    function of the form; without one the server does its duty. A refresh token is good once; the last one alone."""

    context: object
    lives: float = 3600
    ahead: float = 0.0
    """By how many seconds its clock is ahead; None: it tells no date."""
    rotates: bool = True
    script: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    current: str = ""
    """The one access token that is good."""
    refresh: str = ""
    issued: int = 0
    polls_before: int = 0
    """How many polls of a device are answered "pending" first."""
    codes: dict = field(default_factory=dict)
    delay: float = 0.0
    port: int = 0
    under_way: int = 0
    most_at_once: int = 0

    def start(self):
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(10)

    def _run(self, ready):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.context)
        )
        self.port = self.server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()
        self.server.close()
        for task in (tasks := asyncio.all_tasks(self.loop)):
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def url(self, path):
        return f"https://localhost:{self.port}/{path}"

    def forms(self, path="token"):
        return [form for asked, form in self.asked if asked == path]

    # --- what it knows ---

    def issue(self, *, refresh=True):
        self.issued += 1
        self.current = f"access-{self.issued}"
        answer = {"access_token": self.current, "token_type": "Bearer", "expires_in": self.lives, "scope": "smtp"}
        if refresh and (self.rotates or not self.refresh):
            self.refresh = f"refresh-{self.issued}"
            answer["refresh_token"] = self.refresh
        return 200, answer

    def consent(self, page):
        """A person signs in on the page: the address that the browser is sent back to."""
        said = dict(parse_qsl(urlsplit(page).query))
        code = f"code-{len(self.codes) + 1}"
        self.codes[code] = said
        return f"{said['redirect_uri']}?code={code}&state={said['state']}"

    def _duty(self, path, form):
        if path == "device":
            answer = {"device_code": "device-1", "user_code": "ABCD-EFGH", "verification_uri": self.url("signin")}
            return 200, answer | {"expires_in": 60, "interval": 1}
        if path == "introspect":
            return 200, {"active": form.get("token") == self.current, "username": "me@example.com", "scope": "smtp"}
        if path == "revoke":
            self.refresh = self.current = ""
            return 200, ""
        grant = form.get("grant_type", "")
        if grant == "refresh_token":
            if form["refresh_token"] != self.refresh:
                return 400, {"error": "invalid_grant", "error_description": "the refresh token is used up"}
            return self.issue()
        if grant.endswith("device_code"):
            if self.polls_before:
                self.polls_before -= 1
                return 400, {"error": "authorization_pending"}
            return self.issue()
        if grant == "authorization_code":
            return self._exchange(form)
        return self.issue(refresh=False)

    def _exchange(self, form):
        import base64
        import hashlib

        said = self.codes.pop(form["code"], None)
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
        )
        if said is None or said["redirect_uri"] != form["redirect_uri"] or said["code_challenge"] != challenge:
            return 400, {"error": "invalid_grant", "error_description": "code, address or verifier"}
        return self.issue()

    # --- how it speaks ---

    async def _serve(self, reader, writer):
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            line = (await reader.readline()).decode()
            length = 0
            while header := (await reader.readline()).strip():
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            body = (await reader.readexactly(length)).decode()
            path = line.split()[1].strip("/")
            form = {name: values[0] for name, values in parse_qs(body, keep_blank_values=True).items()}
            self.asked.append((path, form))
            await asyncio.sleep(self.delay)
            waiting = self.script.get(path)
            answer = waiting.pop(0) if waiting else None
            if callable(answer):
                answer = answer(form)
            if answer is None:
                answer = self._duty(path, form)
            await self._say(writer, answer)
        except (OSError, EOFError, IndexError):
            pass
        finally:
            self.under_way -= 1
            writer.transport.abort()

    async def _say(self, writer, answer):
        if not isinstance(answer, bytes):
            status, body, *more = answer
            octets = body if isinstance(body, bytes) else (json.dumps(body) if body != "" else "").encode()
            head = f"HTTP/1.1 {status} x\r\nContent-Length: {len(octets)}\r\n" + "".join(
                f"{f}\r\n" for f in (more[0] if more else ())
            )
            if self.ahead is not None:
                head += f"Date: {email.utils.formatdate(time.time() + self.ahead, usegmt=True)}\r\n"
            answer = head.encode() + b"\r\n" + octets
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
