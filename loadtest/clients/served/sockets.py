"""A WebSocket server on `websockets`: `echo` sends back, `seen` tells the handshake's headers, `pushed` only sends."""

import asyncio
import json

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def answer(socket):
    last = socket.request.path.split("?")[0].rsplit("/", 1)[-1]
    try:
        if last == "seen":
            seen = [[name.lower(), value] for name, value in socket.request.headers.raw_items()]
            await socket.send(json.dumps({"target": socket.request.path, "headers": seen}))
        elif last == "pushed":
            while True:
                await socket.send("tick")
                await asyncio.sleep(0.05)
        elif last == "leaving":
            await socket.close(4321, "leaving")
        async for message in socket:
            await socket.send(message)
    except ConnectionClosed:
        pass


def first_known(connection, offered):
    return next((name for name in offered if name in ("first", "second")), None)


async def start(host, port):
    # No bound of its own: what Autobahn sends has 16 MiB.
    return await serve(
        answer, host, port, select_subprotocol=first_known, max_size=None, ping_interval=None, close_timeout=2, backlog=1024
    )
