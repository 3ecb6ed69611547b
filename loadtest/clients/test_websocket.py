"""WebSockets through the gateway: each case of the suite by a client that sends raw frames, as it goes without the gateway
and as RFC 6455 wants it; permessage-deflate; handshakes; and what the gateway itself has to say.
"""

import asyncio
import json
import random
import zlib
from collections import namedtuple

import pytest
import websockets
from conftest import STACK
from frames import BINARY, TEXT, WITHIN, Client, closing, fragments, frame
from websocket_cases import CASES

Place = namedtuple("Place", "host port context headers")
DIRECT = {}


@pytest.fixture
def place(gateway, account):
    return Place(gateway.host, gateway.port, gateway.context("http/1.1"), account.bearer.items())


def direct():
    host, port = STACK["websockets"].rsplit(":", 1)
    return Place(host, int(port), None, ())


async def played(place, pieces, wanted=0, then=(), extensions=None):
    """What is heard when these pieces are sent, the last ones after so many messages and pongs."""
    client = await Client.connect(place.host, place.port, "/ws/echo", place.context, place.headers, extensions)
    try:
        assert client.status == 101, client.head
        return await client.played(pieces, wanted, then)
    finally:
        await client.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_each_case_is_answered_as_without_the_gateway(place, case):
    script = (case.pieces, len(case.messages) + len(case.pongs), case.then)
    heard = await played(place, *script)
    assert [(kind, body) for kind, _, body in heard.messages] == case.messages
    assert (heard.pongs, heard.code, heard.orderly) == (case.pongs, case.code, True), heard
    if case.name not in DIRECT:
        DIRECT[case.name] = await played(direct(), *script)
    assert heard == DIRECT[case.name]


def deflated(bodies, bits=15, takeover=True):
    """Messages as permessage-deflate sends them (RFC 7692)."""
    compressor = None
    for body in bodies:
        if compressor is None or not takeover:
            compressor = zlib.compressobj(wbits=-bits)
        yield (compressor.compress(body) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(messages, takeover):
    inflater = None
    for _, rsv, body in messages:
        assert rsv == 4, "the server was asked to compress"
        if inflater is None or not takeover:
            inflater = zlib.decompressobj(wbits=-15)
        yield inflater.decompress(body + b"\0\0\xff\xff")


OFFERS = [
    "permessage-deflate",
    "permessage-deflate; client_no_context_takeover",
    "permessage-deflate; server_no_context_takeover",
    "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; client_max_window_bits=9",
    "permessage-deflate; server_max_window_bits=9",
    "permessage-deflate; server_max_window_bits=15; client_max_window_bits=15",
    "permessage-deflate; server_max_window_bits=10; server_no_context_takeover; client_max_window_bits=10",
    "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9, permessage-deflate",
    "x-unknown; a=1, permessage-deflate",
]


@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072])
@pytest.mark.parametrize("offer", OFFERS)
async def test_permessage_deflate_passes_through(place, offer, size):
    words = random.Random(size).choices(["alpha", "beta", "gamma", "delta", "ünï", "\n"], k=size // 4 + 1)
    bodies = [("".join(words)[: size - number % 3 if size else 0]).encode() for number in range(8)]
    client = await Client.connect(place.host, place.port, "/ws/echo", place.context, place.headers, offer)
    agreed = client.header("sec-websocket-extensions")
    assert agreed.startswith("permessage-deflate") and "x-unknown" not in agreed
    bare = await Client.connect(*direct()[:2], "/ws/echo", extensions=offer)
    assert bare.header("sec-websocket-extensions") == agreed
    await bare.close()
    pieces = []
    for number, body in enumerate(deflated(bodies, bits=9, takeover="client_no_context_takeover" not in agreed)):
        parts = [body] if number % 2 else [body[: len(body) // 2], body[len(body) // 2 :]]
        pieces += fragments(TEXT, parts, rsv=4)
    heard = await client.played(pieces, len(bodies), [closing(1000)])
    await client.close()
    assert list(inflated(heard.messages, "server_no_context_takeover" not in agreed)) == bodies
    assert (heard.code, heard.orderly) == (1000, True)


@pytest.mark.parametrize("rsv", [1, 2, 4])
async def test_compression_that_was_not_agreed_or_is_broken_is_refused_by_the_upstream(place, rsv):
    offer = None if rsv == 4 else "permessage-deflate"
    heard = await played(place, [frame(TEXT, b"plain", rsv=rsv)], extensions=offer)
    assert (heard.messages, heard.code) == ([], 1002)
    garbage = await played(place, [frame(BINARY, b"\xff\xff\xff\xff", rsv=4)], extensions="permessage-deflate")
    assert garbage.messages == [] and garbage.code in (1002, 1007) and garbage == await played(
        direct(), [frame(BINARY, b"\xff\xff\xff\xff", rsv=4)], extensions="permessage-deflate"
    )


async def test_messages_flow_both_ways_at_once_in_their_order(place):
    bodies = [b"%d " % number * (number % 50 + 1) for number in range(3000)]
    heard = await played(place, [frame(BINARY, body) for body in bodies], len(bodies), [closing(1000)])
    assert [body for _, _, body in heard.messages] == bodies


async def test_the_upstream_may_speak_first(place):
    client = await Client.connect(place.host, place.port, "/ws/pushed", place.context, place.headers)
    for _ in range(5):
        assert await asyncio.wait_for(client.frame(), WITHIN) == (True, 0, TEXT, b"tick")
    await client.close()


async def test_the_upstreams_refusal_of_a_handshake_arrives(place):
    for headers in ([("Sec-WebSocket-Version", "12")], [("Sec-WebSocket-Key", "short")]):
        client = await Client.connect(place.host, place.port, "/ws/echo", place.context, [*place.headers, *headers])
        assert client.status in (400, 426), client.head
        await client.close()


def connecting(gateway, path, account=None, **more):
    headers = account.bearer if account else {}
    return websockets.connect(
        gateway.socket_url + path, ssl=gateway.context(), additional_headers=headers, proxy=None, max_size=None, **more
    )


async def test_pythons_websockets_work(gateway, account):
    async with connecting(gateway, "/ws/echo", account, subprotocols=["first", "other"]) as socket:
        assert socket.subprotocol == "first" and socket.response.headers["x-request-id"]
        for message in ("", "hällo", b"", b"\0" * 5_000_000, ["a", "b", "c"]):
            await socket.send(message)
            assert await socket.recv() == ("abc" if isinstance(message, list) else message)
        await asyncio.wait_for(await socket.ping(b"x"), WITHIN)
    assert socket.close_code == 1000


async def test_the_upstream_is_told_who_calls_and_no_key(gateway, account):
    async with connecting(gateway, "/ws/seen?a=b", account) as socket:
        told = json.loads(await socket.recv())
    names = [name for name, _ in told["headers"]]
    assert told["target"] == "/ws/seen?a=b" and "keyward-account" in names and "authorization" not in names
    assert ["x-forwarded-proto", "https" if gateway.secure else "http"] in told["headers"]


async def test_two_hundred_sockets_are_open_at_once(gateway, account):
    async def one(number):
        async with connecting(gateway, "/ws/echo", account, open_timeout=30) as socket:
            for turn in range(3):
                await socket.send(f"{number} {turn}")
                assert await socket.recv() == f"{number} {turn}"

    await asyncio.gather(*(one(number) for number in range(200)))


async def test_a_refused_handshake_is_read_rightly(gateway, ended, one_call):
    for path, account, status in (("/ws/echo", None, 401), ("/ws/echo", ended, 401), ("/nowhere", one_call, 503)):
        with pytest.raises(websockets.InvalidStatus) as raised:
            await connecting(gateway, path, account)
        assert raised.value.response.status_code == status
        assert json.loads(raised.value.response.body)["object"] == "error"
    with pytest.raises(websockets.InvalidStatus) as raised:
        while True:
            await (await connecting(gateway, "/ws/echo", one_call)).close()
    assert raised.value.response.status_code == 429


async def test_open_sockets_are_closed_when_their_key_is_revoked(gateway, fleeting):
    async with connecting(gateway, "/ws/pushed", fleeting) as busy, connecting(gateway, "/ws/echo", fleeting) as idle:
        assert await busy.recv() == "tick"
        await asyncio.to_thread(fleeting.revoke)
        async with asyncio.timeout(WITHIN):
            for socket in (busy, idle):
                await socket.wait_closed()
                assert (socket.close_code, bool(socket.close_reason)) == (1008, True)
