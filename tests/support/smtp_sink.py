"""An SMTP server that keeps what it receives and makes trouble when asked.

    smtp_sink.py PORT FOLDER

In FOLDER: `ready` appears once it listens, `mails.jsonl` grows by a line for each mail, and
`trouble.json` is read before every reply. The other side, tests/support/smtp.rs, says what
it may hold and which recipients ask for trouble by their name.
"""

import asyncio
import email
import email.policy
import json
import pathlib
import re
import sys
import time
from collections import Counter

from aiosmtpd.smtp import SMTP

HOST = "127.0.0.1"
TEXT = {
    421: "4.3.2 not now",
    450: "4.2.0 try again later",
    451: "4.7.1 greylisted, try again later",
    452: "4.2.2 mailbox full",
    550: "5.1.1 no such mailbox",
    552: "5.3.4 too big",
    554: "5.7.1 refused",
}
# `fail-451-2`: code and how often; `reject-550`: for ever; `data-452-1`: after the message.
ASKED = re.compile(r"^(?P<what>fail|reject|data)-(?P<code>[45]\d\d)(?:-(?P<times>\d+))?\b")


def reply(code):
    text = TEXT.get(code, "4.0.0 trouble" if code < 500 else "5.0.0 trouble")
    return f"{code} {text}"


class Handler:
    def __init__(self, folder):
        self.mails = (folder / "mails.jsonl").open("a", encoding="utf-8")
        self.trouble_file = folder / "trouble.json"
        self.refused = Counter()

    def trouble(self):
        try:
            return json.loads(self.trouble_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    async def stage(self, name):
        """The refusal that this stage answers with, if it is asked to refuse."""
        trouble = self.trouble()
        await asyncio.sleep(trouble.get("delay", 0))
        return reply(trouble[name]) if name in trouble else None

    def asked(self, address, names):
        """The refusal that the recipient's own name asks for."""
        found = ASKED.match(address)
        if not found or found["what"] not in names:
            return None
        if found["what"] != "reject":
            if self.refused[address] >= int(found["times"] or 1):
                return None
            self.refused[address] += 1
        return reply(int(found["code"]))

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        refusal = await self.stage("helo")
        if refusal is None:
            session.host_name = hostname
        return responses if refusal is None else [refusal]

    async def handle_MAIL(self, server, session, envelope, address, options):
        refusal = await self.stage("mail")
        if refusal is None:
            envelope.mail_from = address
        return refusal or "250 2.1.0 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        refusal = await self.stage("rcpt") or self.asked(address, ("fail", "reject"))
        if self.trouble().get("cut") == "before-data":
            server.transport.abort()
        if refusal is None:
            envelope.rcpt_tos.append(address)
        return refusal or "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        refusal = await self.stage("data")
        for address in envelope.rcpt_tos:
            refusal = refusal or self.asked(address, ("data",))
        cut = self.trouble().get("cut")
        if refusal is None and cut != "in-data":
            self.keep(session, envelope)
        if cut in ("in-data", "after-data"):
            server.transport.abort()
        return refusal or "250 2.0.0 kept"

    def keep(self, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        mail = {
            "message_id": str(message.get("Message-ID", "")),
            "from": envelope.mail_from,
            "rcpts": envelope.rcpt_tos,
            "subject": str(message.get("Subject", "")),
            "peer": "%s:%s" % session.peer[:2],
            "time": time.time(),
            "data": envelope.content.decode("utf-8", "replace"),
        }
        self.mails.write(json.dumps(mail) + "\n")
        # With the kernel before the sender is told: SIGKILL must not lose it.
        self.mails.flush()


class Busy(asyncio.Protocol):
    """Answers the connection itself with a refusal, and closes it."""

    def __init__(self, code):
        self.code = code

    def connection_made(self, transport):
        transport.write(f"{reply(self.code)}\r\n".encode())
        transport.close()


async def serve(port, folder):
    handler = Handler(folder)

    def connection():
        refusal = handler.trouble().get("connect")
        if refusal is not None:
            return Busy(refusal)
        return SMTP(handler, hostname="sink.test", enable_SMTPUTF8=True)

    server = await asyncio.get_running_loop().create_server(connection, HOST, port)
    (folder / "ready").touch()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), pathlib.Path(sys.argv[2])))
