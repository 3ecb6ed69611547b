"""httpx: HTTP/1.1 and HTTP/2, over TLS by ALPN and in clear text by prior knowledge."""

import asyncio
import hashlib
import json
import urllib.request
import uuid

import httpx
import pytest
from bodies import DOWNLOADS, PLAIN, UPLOAD, UPLOADED, headers_of, pieces
from conftest import GATEWAYS

VERSIONS = {"h1": "HTTP/1.1", "h2": "HTTP/2"}


@pytest.fixture(params=VERSIONS)
async def client(request, gateway, account):
    spoken = {"http1": request.param == "h1", "http2": request.param == "h2"}
    verify = gateway.context() or False
    limits = httpx.Limits(max_connections=1) if request.param == "h2" else httpx.Limits()
    async with httpx.AsyncClient(
        base_url=gateway.url, headers=account.bearer, verify=verify, trust_env=False, limits=limits, timeout=30, **spoken
    ) as client:
        client.version = VERSIONS[request.param]
        yield client


def connection(answer):
    """What tells one connection from another."""
    return answer.extensions["network_stream"].get_extra_info("client_addr")


async def test_every_method_reaches_the_upstream_as_it_was_sent(client):
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = await client.request(method, "/echo?a=1&b=%20%C3%A9", content=b"body" if method in ("POST", "PUT", "PATCH") else None)
        assert (answer.status_code, answer.http_version) == (200, client.version)
        assert (answer.json()["method"], answer.json()["target"]) == (method, "/echo?a=1&b=%20%C3%A9")
        assert answer.headers["x-request-id"] and answer.headers["ratelimit"] and answer.headers["x-ratelimit-limit"]


async def test_large_and_streamed_bodies_arrive_whole(client):
    async def streamed():
        for piece in pieces():
            yield piece

    for content in (UPLOAD, streamed()):
        answer = await client.post("/echo", content=content)
        assert (answer.status_code, answer.json()["sha256"], answer.json()["length"]) == (200, UPLOADED, len(UPLOAD))
    assert (await client.post("/echo", content=b"")).json()["length"] == 0


@pytest.mark.parametrize("framing, length, wanted", DOWNLOADS)
async def test_a_large_download_arrives_whole(client, framing, length, wanted):
    digest = hashlib.sha256()
    async with client.stream("GET", f"/download?length={length}&{framing}") as answer:
        assert ("content-length" in answer.headers) == (framing == "length")
        async for piece in answer.aiter_raw():
            digest.update(piece)
    assert digest.hexdigest() == wanted


async def test_a_body_and_its_answer_flow_at_the_same_time(client):
    async def asked():
        for turn in range(3):
            yield b"x" * 100_000
            await asyncio.sleep(0)

    got = await client.post("/mirror", content=asked())
    assert got.content == b"x" * 300_000


async def test_answers_without_a_body_have_none_and_the_connection_goes_on(client):
    head = await client.head("/download?length=1234")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "1234", b"")
    nothing = await client.get("/status?code=204")
    unchanged = await client.get("/status?code=304")
    assert (nothing.status_code, nothing.content) == (204, b"")
    assert (unchanged.status_code, unchanged.headers["etag"], unchanged.content) == (304, '"one"', b"")
    assert connection(head) == connection(nothing) == connection(unchanged) == connection(await client.get("/echo"))


async def test_gzip_passes_through(client):
    answer = await client.get("/gzip")
    assert (answer.headers["content-encoding"], answer.content) == ("gzip", PLAIN)


async def test_events_arrive_before_the_answer_ends(client):
    name = uuid.uuid4().hex
    async with client.stream("GET", f"/events?name={name}") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        lines = answer.aiter_lines()
        assert await anext(lines) == "data: first"
        # The upstream sends the rest only after this, on another stream or connection.
        released = await asyncio.to_thread(urllib.request.urlopen, f"{gateway_in_clear()}/open/release?name={name}")
        assert released.status == 200
        assert [line async for line in lines if line] == ["data: second", "data: last"]


def gateway_in_clear():
    return GATEWAYS[0].url


async def test_many_calls_share_connections(client):
    answers = await asyncio.gather(*(client.post("/echo", content=b"x" * number) for number in range(60)))
    assert [answer.json()["length"] for answer in answers] == list(range(60))
    connections = {connection(answer) for answer in answers}
    assert len(connections) == 1 if client.version == "HTTP/2" else len(connections) <= 60


async def test_redirects_and_cookies_pass_through(client):
    answer = await client.get("/redirect")
    assert (answer.status_code, answer.headers["location"]) == (302, "echo?from=redirect")
    assert len(answer.headers.get_list("set-cookie")) == 2
    followed = await client.get("/redirect", follow_redirects=True)
    assert headers_of(followed.json(), "cookie") == ["first=1; second=2"]


async def test_refusals_are_read_rightly_and_the_connection_goes_on(client, one_call, ended):
    first = await client.get("/echo")
    expected = [
        ("/echo", {"Authorization": ""}, 401, "UNAUTHORIZED"),
        ("/echo", {"Authorization": "Bearer pk_live_nonsense"}, 401, "INVALID_API_KEY"),
        ("/echo", ended.bearer, 401, "EXPIRED_API_KEY"),
        ("/customers/echo", {}, 403, "FORBIDDEN"),
        ("/nowhere", {}, 503, "UPSTREAM_UNAVAILABLE"),
        ("/short/sleep", {}, 504, "UPSTREAM_TIMEOUT"),
    ]
    for path, headers, status, code in expected:
        answer = await client.get(path, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), path
        assert answer.json()["error"]["requestId"] == answer.headers["x-request-id"]
    limited = first
    while limited.status_code == 200:
        limited = await client.get("/echo", headers=one_call.bearer)
    assert (limited.status_code, limited.json()["error"]["code"]) == (429, "RATE_LIMITED")
    assert int(limited.headers["retry-after"]) >= 1
    problem = await client.get("/echo", headers={"Authorization": "", "Accept": "application/problem+json"})
    assert (problem.status_code, problem.headers["content-type"]) == (401, "application/problem+json")
    assert json.loads(problem.text)["code"] == "UNAUTHORIZED"
    assert connection(first) == connection(await client.get("/echo"))


@pytest.mark.timeout(10)
async def test_too_large_a_body_is_refused_and_read_rightly(client):
    for content in (b"x" * 2000, UPLOAD):
        answer = await client.post("/small/echo", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert (await client.post("/small/echo", content=b"x" * 1000)).status_code == 200


@pytest.mark.parametrize("how", ["cut-length", "cut-chunked"])
async def test_an_answer_that_breaks_off_is_an_error_to_the_client(client, how):
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(f"/wire/{how}")
    assert (await client.get("/wire/until-close")).content == b"hello"


async def test_a_call_that_is_given_up_harms_no_other(client):
    with pytest.raises(httpx.ReadTimeout):
        await client.get("/sleep", timeout=0.2)
    assert (await client.get("/echo")).status_code == 200
