"""What the WebSocket suite sends, and what must come back from an upstream that echoes: the categories, and in them the
cases, of the Autobahn suite's list: framing, pings, reserved bits, opcodes, fragmentation, UTF-8, closing, limits.

A case is a name, the pieces that are written to the network one after the other, what must be heard, and the pieces that are
written after that: a server owes no answer to what came right before a violation or a close.
"""

from dataclasses import dataclass, field

from frames import BINARY, CONTINUATION, PING, PONG, TEXT, chopped, closing, fragments, frame

KIB, MIB = 1024, 1024 * 1024
NORMAL, PROTOCOL, NOT_UTF8 = 1000, 1002, 1007
GOODBYE = closing(NORMAL)


@dataclass(frozen=True)
class Case:
    name: str
    pieces: list
    messages: list = field(default_factory=list)
    pongs: list = field(default_factory=list)
    code: int | None = NORMAL
    then: list = field(default_factory=list)


CASES = []


def case(name, pieces, messages=(), pongs=(), code=NORMAL, then=()):
    """One that goes well ends with the client's own goodbye."""
    then = [GOODBYE] if code == NORMAL else list(then)
    CASES.append(Case(name, list(pieces), list(messages), list(pongs), code, then))


def ways(frames):
    """The same bytes at once, in the frames' own pieces, and octet by octet."""
    whole = b"".join(frames)
    return [("at once", [whole]), ("by frame", list(frames)), ("by octet", chopped(whole, 1))]


def in_every_way(name, frames, **expected):
    for way, pieces in ways(frames):
        case(f"{name}, {way}", pieces, **expected)


def framing():
    for kind, opcode in (("text", TEXT), ("binary", BINARY)):
        for size in (0, 125, 126, 127, 128, 65535, 65536):
            body = b"*" * size
            case(f"framing: {kind} of {size}", [frame(opcode, body)], [(opcode, body)])
        body = b"*" * 65536
        case(f"framing: {kind} of 65536 in chops of 997", chopped(frame(opcode, body), 997), [(opcode, body)])


def pings():
    for name, body in (("nothing", b""), ("text", b"Hello, world!"), ("binary", b"\0\xff\xfe\xfd\xfc\xfb\0\xff"), ("125", b"\xfe" * 125)):
        in_every_way(f"ping: with {name}", [frame(PING, body)], pongs=[body])
    case("ping: with 126 is refused", [frame(PING, b"\xfe" * 126)], code=PROTOCOL)
    for body in (b"", b"unsolicited"):
        in_every_way(f"pong: unsolicited with {len(body)}", [frame(PONG, body), frame(PING, b"after")], pongs=[b"after"])
    ten = [b"payload %d" % number for number in range(10)]
    in_every_way("ping: ten", [frame(PING, body) for body in ten], pongs=ten)


def reserved():
    for rsv in (1, 2, 3, 4, 5, 6, 7):
        for name, opcode in (("text", TEXT), ("binary", BINARY), ("ping", PING), ("close", 8)):
            case(f"reserved bits: {rsv} on {name}", [frame(opcode, b"\x03\xe8" if opcode == 8 else b"small", rsv=rsv)], code=PROTOCOL)
        case(f"reserved bits: {rsv} after a message", [frame(TEXT, b"first")], [(TEXT, b"first")], code=PROTOCOL, then=[frame(TEXT, b"second", rsv=rsv)])
        case(f"reserved bits: {rsv} by octet", chopped(frame(TEXT, b"second", rsv=rsv), 1), code=PROTOCOL)


def opcodes():
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for body in (b"", b"reserved opcode"):
            case(f"opcode: {opcode} with {len(body)}", [frame(opcode, body)], code=PROTOCOL)
        case(f"opcode: {opcode} after a message", [frame(TEXT, b"first")], [(TEXT, b"first")], code=PROTOCOL, then=[frame(opcode), frame(PING)])


def fragmentation():
    for name, opcode in (("ping", PING), ("pong", PONG)):
        case(f"fragments: of a {name}", fragments(opcode, [b"fragment1", b"fragment2"]), code=PROTOCOL)
    two = fragments(TEXT, [b"fragment1", b"fragment2"])
    in_every_way("fragments: two", two, messages=[(TEXT, b"fragment1fragment2")])
    in_every_way("fragments: two around a ping", [two[0], frame(PING, b"ping"), two[1]], messages=[(TEXT, b"fragment1fragment2")], pongs=[b"ping"])
    for fin in (True, False):
        orphan = [frame(CONTINUATION, b"nothing to continue", fin=fin), frame(TEXT, b"Hello")]
        in_every_way(f"fragments: a continuation of nothing, fin={fin}", orphan, code=PROTOCOL)
        late = [frame(CONTINUATION, b"fragment3", fin=fin), frame(TEXT, b"fragment4")]
        case(f"fragments: a continuation too many, fin={fin}", two, [(TEXT, b"fragment1fragment2")], code=PROTOCOL, then=late)
    in_every_way("fragments: a new message before the end", [two[0], frame(TEXT, b"fragment2")], code=PROTOCOL)
    five = fragments(BINARY, [b"fragment%d" % number for number in range(5)])
    with_pings = [five[0], five[1], frame(PING, b"1"), five[2], five[3], frame(PING, b"2"), five[4]]
    whole = b"".join(b"fragment%d" % number for number in range(5))
    in_every_way("fragments: five around two pings", with_pings, messages=[(BINARY, whole)], pongs=[b"1", b"2"])
    empty = fragments(TEXT, [b"", b"", b"middle", b""])
    in_every_way("fragments: empty ones", empty, messages=[(TEXT, b"middle")])
    case("fragments: 65536 in 1300", fragments(TEXT, chopped(b"*" * 65536, 1300)), [(TEXT, b"*" * 65536)])


def texts():
    """Well-formed and malformed UTF-8 by class, as in Markus Kuhn's test of decoders."""
    good = "Hello-µ@ßöäüàá-UTF-8!!".encode()
    kosme = "κόσμε".encode()
    yield from (good, "\U0001f600😀 𝄞".encode(), *(kosme[:length] for length in range(len(kosme) + 1)))
    firsts = (0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x10FFFF)
    yield from (chr(code).encode() for code in firsts)
    yield from (chr(plane << 16 | low).encode() for plane in range(1, 17) for low in (0xFFFE, 0xFFFF))
    yield from (b"\xf4\x90\x80\x80", b"\xf7\xbf\xbf\xbf", b"\xf8\x88\x80\x80\x80", b"\xfb\xbf\xbf\xbf\xbf", b"\xfc\x84\x80\x80\x80\x80", b"\xfd" + b"\xbf" * 5)
    yield from (b"\x80", b"\xbf", *((b"\x80\xbf" * 4)[:length] for length in range(2, 8)), bytes(range(0x80, 0xC0)))
    for low, high in ((0xC0, 0xE0), (0xE0, 0xF0), (0xF0, 0xF8), (0xF8, 0xFC), (0xFC, 0xFE)):
        yield b"".join(bytes([start]) + b" " for start in range(low, high))
    unfinished = [b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80", b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf"]
    yield from (*unfinished, b"".join(unfinished), b"\xfe", b"\xff", b"\xfe\xfe\xff\xff")
    yield from (b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf")
    yield from (b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf")
    yield from (b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80", b"\xfc\x80\x80\x80\x80\x80")
    surrogates = [0xD800, 0xDB7F, 0xDB80, 0xDBFF, 0xDC00, 0xDF80, 0xDFFF]
    encoded = [chr(code).encode("utf-8", "surrogatepass") for code in surrogates]
    yield from (*encoded, *(high + low for high in encoded[:4] for low in (encoded[4], encoded[6])))


def utf8():
    for opening in ([b""], [b"", b"", b""], [b"", b"middle", b""]):
        case(f"utf-8: {len(opening)} frames, {sum(map(len, opening))} octets", fragments(TEXT, opening), [(TEXT, b"".join(opening))])
    for body in texts():
        try:
            body.decode()
            expected = {"messages": [(TEXT, body)]}
        except UnicodeDecodeError:
            expected = {"code": NOT_UTF8}
        name = f"utf-8: {body.hex()[:40]} of {len(body)}"
        case(f"{name}, one frame", [frame(TEXT, body)], **expected)
        case(f"{name}, a frame for each octet", [b"".join(fragments(TEXT, chopped(body, 1) or [b""]))], **expected)
        case(f"{name}, not checked when binary", [frame(BINARY, body)], [(BINARY, body)])


def closes():
    case("close: after a message", [frame(TEXT, b"Hello")], [(TEXT, b"Hello")])
    case("close: at once", [])
    case("close: twice", [GOODBYE])
    case("close: and then a ping", [closing(NORMAL), frame(PING)], code=NORMAL)
    case("close: and then a message", [closing(NORMAL), frame(TEXT, b"too late")], code=NORMAL)
    case("close: after 256 KiB", [frame(TEXT, b"*" * 256 * KIB)], [(TEXT, b"*" * 256 * KIB)])
    # RFC 6455 leaves open what is said to it; this upstream's library takes it for a violation.
    case("close: within a fragmented message", [frame(TEXT, b"begun", fin=False), GOODBYE], code=PROTOCOL)
    CASES.append(Case("close: with nothing", [closing()], code=None))
    case("close: with one octet", [frame(8, b"\x03")], code=PROTOCOL)
    CASES.append(Case("close: with a reason", [closing(NORMAL, b"Hello!")]))
    CASES.append(Case("close: with the longest reason", [closing(NORMAL, b"*" * 123)]))
    case("close: with too long a reason", [closing(NORMAL, b"*" * 124)], code=PROTOCOL)
    case("close: with a reason that is no text", [closing(NORMAL, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80")], code=NOT_UTF8)
    case("close: in fragments", [frame(8, b"\x03\xe8", fin=False)], code=PROTOCOL)
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        CASES.append(Case(f"close: with {code}", [closing(code)], code=code))
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        CASES.append(Case(f"close: with {code} is refused", [closing(code)], code=PROTOCOL))


def limits():
    for name, opcode in (("text", TEXT), ("binary", BINARY)):
        for size in (64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB):
            body = b"*" * size
            case(f"limits: {name} of {size}", [frame(opcode, body)], [(opcode, body)])
        for size in (1024, 16 * KIB, 256 * KIB, MIB):
            body = b"*" * 4 * MIB
            case(f"limits: {name} of 4 MiB in frames of {size}", fragments(opcode, chopped(body, size)), [(opcode, body)])
        for size in (64, 512, 2048):
            body = b"*" * 256 * KIB
            case(f"limits: {name} of 256 KiB in chops of {size}", chopped(frame(opcode, body), size), [(opcode, body)])
        for size in (0, 16, 256, 4096):
            many = [b"*" * size] * 500
            case(f"limits: 500 times {name} of {size}", [frame(opcode, body) for body in many], [(opcode, body) for body in many])


for category in (framing, pings, reserved, opcodes, fragmentation, utf8, closes, limits):
    category()
