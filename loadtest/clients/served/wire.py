"""HTTP/1.1 answers byte by byte, for what no framework sends: trailers, interim answers, answers that break off."""

import asyncio

ANSWERS = {
    "/wire/trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n"
    b"5\r\nhello\r\n0\r\nX-Checksum: abc\r\n\r\n",
    "/wire/hints": b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "/wire/cut-length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    "/wire/cut-chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "/wire/until-close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
}
ENDING = ("cut", "until")


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode().split("?")[0]
            if path == "/wire/continue":
                await continued(head, reader, writer)
                continue
            writer.write(ANSWERS.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
            await writer.drain()
            if path.rsplit("/", 1)[-1].startswith(ENDING):
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def continued(head, reader, writer):
    """Asks for the body by 100, and says whether it was asked to."""
    lines = head.decode("latin-1").lower().split("\r\n")
    asked = "expect: 100-continue" in lines
    if asked:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = next(int(line[15:]) for line in lines if line.startswith("content-length:"))
    await reader.readexactly(length)
    body = b"asked " + str(length).encode() if asked else b"unasked " + str(length).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()


async def start(host, port):
    return await asyncio.start_server(serve, host, port, backlog=1024)
