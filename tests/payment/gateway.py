"""localstripe on a free port of the loopback address, with its state in memory alone (it would
write all of it to one shared file at every change). Prints `port` and its port."""

import asyncio
import socket

from aiohttp import web
from localstripe import resources, server

resources.Store.dump_to_disk = lambda self: None


async def main():
    runner = web.AppRunner(server.app, access_log=None)
    await runner.setup()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    print("port", listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
