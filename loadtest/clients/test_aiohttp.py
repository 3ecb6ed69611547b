"""aiohttp: HTTP/1.1 and WebSockets."""

import asyncio
import hashlib
import uuid

import aiohttp
import pytest
from bodies import DOWNLOADS, PLAIN, UPLOAD, UPLOADED, headers_of, pieces


@pytest.fixture
async def session(gateway, account):
    connector = aiohttp.TCPConnector(ssl=gateway.context() or False, limit=20)
    # Its jar takes no cookies from addresses otherwise.
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(gateway.url, connector=connector, headers=account.bearer, cookie_jar=jar) as session:
        yield session


async def test_calls_and_streamed_bodies_arrive_whole(session):
    async def streamed():
        for piece in pieces():
            yield piece

    async with session.get("/echo", params={"a": "ä b"}) as answer:
        assert (answer.status, (await answer.json())["target"]) == (200, "/echo?a=%C3%A4+b")
    for data in (UPLOAD, streamed()):
        async with session.post("/echo", data=data) as answer:
            assert (await answer.json())["sha256"] == UPLOADED
    async with session.post("/echo", data=b"x" * 1000, expect100=True) as answer:
        assert (await answer.json())["length"] == 1000


@pytest.mark.parametrize("framing, length, wanted", DOWNLOADS)
async def test_a_large_download_arrives_whole(session, framing, length, wanted):
    digest = hashlib.sha256()
    async with session.get(f"/download?length={length}&{framing}") as answer:
        async for piece in answer.content.iter_any():
            digest.update(piece)
    assert digest.hexdigest() == wanted


async def test_answers_without_a_body_have_none(session):
    for method, path, status in (("HEAD", "/download?length=9", 200), ("GET", "/status?code=204", 204), ("GET", "/status?code=304", 304)):
        async with session.request(method, path) as answer:
            assert (answer.status, await answer.read()) == (status, b"")


async def test_gzip_redirects_and_cookies_pass_through(session):
    async with session.get("/gzip") as answer:
        assert (answer.headers["content-encoding"], await answer.read()) == ("gzip", PLAIN)
    async with session.get("/redirect") as answer:
        assert len(answer.history) == 1 and answer.url.query_string == "from=redirect"
        assert headers_of(await answer.json(), "cookie") == ["first=1; second=2"]


async def test_events_arrive_before_the_answer_ends(session):
    name = uuid.uuid4().hex
    async with session.get(f"/events?name={name}") as answer:
        assert await answer.content.readline() == b"data: first\n"
        async with session.get(f"/release?name={name}") as released:
            assert released.status == 200
        assert b"data: last" in await answer.content.read()


async def test_a_hundred_calls_at_once_each_get_their_own_answer(session):
    async def call(number):
        async with session.post(f"/echo?n={number}", data=b"x" * number) as answer:
            told = await answer.json()
            return told["target"], told["length"]

    answers = await asyncio.gather(*(call(number) for number in range(100)))
    assert answers == [(f"/echo?n={number}", number) for number in range(100)]


async def test_refusals_are_read_rightly(session, ended):
    for path, headers, status in (
        ("/echo", {"Authorization": ""}, 401),
        ("/echo", ended.bearer, 401),
        ("/customers/echo", {}, 403),
        ("/nowhere", {}, 503),
        ("/short/sleep", {}, 504),
    ):
        async with session.get(path, headers=headers) as answer:
            assert (answer.status, (await answer.json())["object"]) == (status, "error")
    async with session.post("/small/echo", data=UPLOAD) as answer:
        assert answer.status == 413


@pytest.mark.parametrize("how", ["cut-length", "cut-chunked"])
async def test_an_answer_that_breaks_off_is_an_error_to_the_client(session, how):
    # Which one depends on whether the head had left already.
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
        async with session.get(f"/wire/{how}") as answer:
            await answer.read()


async def test_its_websockets_work(session):
    async with session.ws_connect("/ws/echo", compress=15, max_msg_size=0, protocols=("first",)) as socket:
        assert socket.protocol == "first" and socket.compress
        await socket.send_str("hällo")
        assert (await socket.receive_str()) == "hällo"
        await socket.send_bytes(UPLOAD)
        assert (await socket.receive_bytes()) == UPLOAD
    assert socket.close_code == 1000
