"""localstripe on a free port of the loopback address, with its state in memory alone (it would
write all of it to one shared file at every change), and with idempotency keys, which it lacks: a
request that comes again, however late, is answered as it was. Prints `port` and its port."""

import asyncio
import socket

from aiohttp import web
from localstripe import resources, server

resources.Store.dump_to_disk = lambda self: None


answers = {}


@web.middleware
async def idempotency(request, handler):
    key = request.headers.get("Idempotency-Key")
    if request.method != "POST" or not key:
        return await handler(request)
    said = (request.path, await request.read())
    if key not in answers:
        response = await handler(request)
        answers[key] = (said, response.status, response.body)
        return response
    first, status, body = answers[key]
    if first != said:
        error = {"type": "idempotency_error", "message": "the key was used with other parameters"}
        return web.json_response({"error": error}, status=400)
    return web.Response(
        status=status,
        body=body,
        content_type="application/json",
        headers={"Idempotent-Replayed": "true"},
    )


async def main():
    server.app.middlewares.insert(0, idempotency)
    runner = web.AppRunner(server.app, access_log=None)
    await runner.setup()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    print("port", listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
