"""A WebSocket client that sends what it is told to, right or wrong, and notes what comes back (RFC 6455)."""

import asyncio
import base64
import hashlib
import os
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
WITHIN = 30


def frame(opcode, payload=b"", fin=True, rsv=0):
    """A frame as a client sends it: masked."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", first, 0x80 | length)
    elif length < 65536:
        head = struct.pack("!BBH", first, 0xFE, length)
    else:
        head = struct.pack("!BBQ", first, 0xFF, length)
    key = os.urandom(4)
    return head + key + masked(payload, key)


def masked(payload, key):
    pad = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(payload), "big")


def fragments(opcode, parts, rsv=0):
    """One message in these frames."""
    last = len(parts) - 1
    return [
        frame(opcode if at == 0 else CONTINUATION, part, fin=at == last, rsv=rsv if at == 0 else 0)
        for at, part in enumerate(parts)
    ]


def closing(code=None, reason=b""):
    return frame(CLOSE, (b"" if code is None else struct.pack("!H", code)) + reason)


def chopped(data, size):
    """The same bytes, handed to the network a few at a time."""
    return [data[at : at + size] for at in range(0, len(data), size)]


class Client:
    """One connection."""

    def __init__(self, reader, writer, head):
        self.reader, self.writer, self.head = reader, writer, head

    @classmethod
    async def connect(cls, host, port, path, context=None, headers=(), extensions=None):
        reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=1 << 20)
        key = base64.b64encode(os.urandom(16)).decode()
        fields = [
            ("Host", f"{host}:{port}"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", key),
            ("Sec-WebSocket-Version", "13"),
            *headers,
        ]
        if extensions:
            fields.append(("Sec-WebSocket-Extensions", extensions))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WITHIN)).decode("latin-1").split("\r\n")
        client = cls(reader, writer, head)
        if client.status == 101:
            accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
            assert client.header("sec-websocket-accept") == base64.b64encode(accept).decode()
        return client

    @property
    def status(self):
        return int(self.head[0].split()[1])

    def header(self, name):
        values = [line.split(":", 1)[1].strip() for line in self.head[1:] if line.lower().startswith(name + ":")]
        return values[0] if values else None

    async def send(self, pieces):
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            if len(pieces) > 1:
                # Lets what was written leave by itself.
                await asyncio.sleep(0)

    async def frame(self):
        """The next one, as (fin, rsv, opcode, payload); `None` at the end."""
        try:
            first, second = await self.reader.readexactly(2)
            assert not second & 0x80, "a server never masks"
            length = second & 0x7F
            if length > 125:
                (length,) = struct.unpack("!H" if length == 126 else "!Q", await self.reader.readexactly(2 if length == 126 else 8))
            return bool(first & 0x80), first >> 4 & 7, first & 15, await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def played(self, pieces, wanted, then):
        """Sends the first pieces, and the others once so many messages and pongs came; gives all that came to the end."""
        heard, enough = Heard(), asyncio.Event()

        async def hear():
            async for _ in self.into(heard):
                if len(heard.messages) + len(heard.pongs) >= wanted:
                    enough.set()
            enough.set()

        async with asyncio.timeout(WITHIN):
            hearing = asyncio.create_task(hear())
            try:
                await self.send(pieces)
                if wanted:
                    await enough.wait()
                await self.send(then)
            except ConnectionError:
                # The other side has closed before it had all: what it said counts.
                pass
            await hearing
        return heard

    async def into(self, heard):
        """Notes what comes, until the end; yields after each whole thing."""
        kind, parts, rsv = None, [], 0
        while (came := await self.frame()) is not None:
            fin, bits, opcode, payload = came
            if opcode == CLOSE:
                heard.code = struct.unpack("!H", payload[:2])[0] if payload else None
                # Nothing may follow but the end.
                heard.orderly = await self.frame() is None
                return
            if opcode == PONG:
                heard.pongs.append(payload)
                yield
                continue
            if opcode != CONTINUATION:
                kind, parts, rsv = opcode, [], bits
            parts.append(payload)
            if fin:
                heard.messages.append((kind, rsv, b"".join(parts)))
                yield

    async def close(self):
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (ConnectionError, OSError):
            pass


class Heard:
    """What came: messages, pongs, the code that the server closed with, and whether the connection ended after it."""

    def __init__(self):
        self.messages, self.pongs, self.code, self.orderly = [], [], None, False

    def __eq__(self, other):
        return vars(self) == vars(other)

    def __repr__(self):
        short = [(kind, rsv, len(body), hashlib.sha256(body).hexdigest()[:8]) for kind, rsv, body in self.messages]
        return f"messages {short}, pongs {[len(pong) for pong in self.pongs]}, close {self.code}, orderly {self.orderly}"
