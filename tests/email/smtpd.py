"""A real SMTP server (aiosmtpd). Tells what it sees on stdout, one JSON object a line, and
ends when its stdin does, so that it cannot outlive the test."""

import argparse
import asyncio
import base64
import email
import email.policy
import json
import logging
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


def tell(**event):
    print(json.dumps(event), flush=True)


def part(message, kind):
    found = message.get_body((kind,))
    return None if found is None else found.get_content()


class Keeper:
    async def handle_DATA(self, server, session, envelope):
        # A mail with UTF-8 addresses holds them as they are (RFC 6532).
        content = envelope.content.decode("utf-8")
        message = email.message_from_string(content, policy=email.policy.default)
        tell(
            event="mail",
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            options=envelope.mail_options,
            encrypted=session.ssl is not None,
            user=(session.auth_data or None) and session.auth_data.decode(),
            headers=[[name, str(value)] for name, value in message.items()],
            names=[
                [address.display_name, address.addr_spec]
                for field in ("from", "to", "cc", "reply-to")
                if message[field] is not None
                for address in message[field].addresses
            ],
            kind=message.get_content_type(),
            text=part(message, "plain"),
            html=part(message, "html"),
            attachments=[
                [
                    attachment.get_filename(),
                    attachment.get_content_type(),
                    base64.b64encode(attachment.get_payload(decode=True)).decode(),
                ]
                for attachment in message.iter_attachments()
            ]
            if message.is_multipart()
            else [],
            defects=[str(d) for part in message.walk() for d in part.defects],
            longest_line=max(len(line) for line in envelope.content.split(b"\r\n")),
            raw=content,
        )
        return "250 2.0.0 taken"


class Counted(SMTP):
    open = 0
    most = 0
    total = 0
    counted = False

    def connection_made(self, transport):
        # STARTTLS makes the same connection again.
        if not self.counted:
            self.counted = True
            Counted.total += 1
            Counted.open += 1
            Counted.most = max(Counted.most, Counted.open)
            tell(event="connection", total=Counted.total, most=Counted.most)
        super().connection_made(transport)

    def connection_lost(self, error):
        Counted.open -= 1
        super().connection_lost(error)


def authenticator(user, password):
    def check(server, session, envelope, mechanism, data):
        right = (data.login, data.password) == (user.encode(), password.encode())
        return AuthResult(success=right, handled=False, auth_data=data.login if right else None)

    return check


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tls", choices=["none", "starttls", "implicit"], default="none")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--user")
    parser.add_argument("--password")
    options = parser.parse_args()
    context = None
    if options.tls != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.certificate, options.key)
    settings = {"hostname": "real.test", "enable_SMTPUTF8": True}
    if options.tls == "starttls":
        settings |= {"tls_context": context, "require_starttls": True}
    if options.user:
        settings |= {
            "authenticator": authenticator(options.user, options.password),
            "auth_required": True,
            "auth_require_tls": options.tls == "starttls",
        }
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Counted(Keeper(), **settings),
        "127.0.0.1",
        0,
        ssl=context if options.tls == "implicit" else None,
    )
    tell(event="listening", port=server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)


# Handshakes that fail on purpose are no news.
logging.getLogger("mail.log").setLevel(logging.CRITICAL)
asyncio.run(main())
