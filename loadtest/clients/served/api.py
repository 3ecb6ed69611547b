"""An HTTP/1.1 API on aiohttp. The last segment of the path says what is answered, so that every route reaches all of it."""

import asyncio
import gzip
import hashlib

from aiohttp import web

PIECE = bytes(range(256)) * 256
RELEASED = {}


def released(request):
    """What holds the rest of an answer back until `release` is called with the same name."""
    return RELEASED.setdefault(request.query.get("name"), asyncio.Event())


async def echo(request):
    digest, length = hashlib.sha256(), 0
    async for piece in request.content.iter_any():
        digest.update(piece)
        length += len(piece)
    return web.json_response(
        {
            "method": request.method,
            "target": request.raw_path,
            "headers": [[name.lower(), value] for name, value in request.headers.items()],
            "length": length,
            "sha256": digest.hexdigest(),
        }
    )


async def mirror(request):
    """Each piece of the body goes back before the next is read."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    async for piece in request.content.iter_any():
        await answer.write(piece)
    return answer


async def download(request):
    left = int(request.query["length"])
    answer = web.StreamResponse()
    if "chunked" not in request.query:
        answer.content_length = left
    await answer.prepare(request)
    while left and request.method != "HEAD":
        await answer.write(PIECE[:left])
        left -= min(left, len(PIECE))
    return answer


async def events(request):
    """The first event at once, the other two when they are released."""
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await answer.prepare(request)
    await answer.write(b"data: first\n\n")
    await released(request).wait()
    await answer.write(b"data: second\n\ndata: last\n\n")
    return answer


async def release(request):
    released(request).set()
    return web.Response()


async def status(request):
    code = int(request.query["code"])
    return web.Response(status=code, headers={"ETag": '"one"'} if code == 304 else {})


async def compressed(request):
    body = gzip.compress(b"Hello, hello, hello!" * 500)
    return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain", "Vary": "Accept-Encoding"})


async def redirect(request):
    answer = web.Response(status=int(request.query.get("code", 302)), headers={"Location": "echo?from=redirect"})
    answer.headers.add("Set-Cookie", "first=1; Path=/; HttpOnly")
    answer.headers.add("Set-Cookie", "second=2; Path=/; Expires=Wed, 21 Oct 2054 07:28:00 GMT")
    return answer


async def sleep(request):
    await asyncio.sleep(5)
    return web.Response()


ANSWERS = {
    "echo": echo,
    "mirror": mirror,
    "download": download,
    "events": events,
    "release": release,
    "status": status,
    "gzip": compressed,
    "redirect": redirect,
    "sleep": sleep,
}


async def answer(request):
    last = request.path.rsplit("/", 1)[-1]
    return await ANSWERS.get(last, echo)(request)


async def start(host, port):
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{anything:.*}", answer)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=1024)
    await site.start()
    return runner
