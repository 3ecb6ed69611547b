"""Serves what the clients call for, until it is killed: `upstream.py API WIRE WEBSOCKETS GRPC`, each HOST:PORT."""

import asyncio
import sys

from served import api, rpc, sockets, wire


async def main(addresses):
    hosts = [(host, int(port)) for host, port in (address.rsplit(":", 1) for address in addresses)]
    started = [await module.start(*host) for module, host in zip((wire, sockets, rpc, api), hosts[1:] + hosts[:1])]
    assert started
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1:]))
