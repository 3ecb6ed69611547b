"""Bodies that clients send and get, and how they are told apart."""

import hashlib

MIB = 1024 * 1024
PIECE = bytes(range(256)) * 256
#: What is downloaded, in each framing, and its digest.
DOWNLOADS = [
    (framing, mib * MIB, hashlib.sha256(PIECE * (mib * MIB // len(PIECE))).hexdigest())
    for framing, mib in (("length", 50), ("chunked", 10))
]
#: What is sent.
UPLOAD = PIECE * (5 * MIB // len(PIECE))
UPLOADED = hashlib.sha256(UPLOAD).hexdigest()
#: What `gzip` holds.
PLAIN = b"Hello, hello, hello!" * 500


def pieces(body=UPLOAD, size=70_001):
    return (body[at : at + size] for at in range(0, len(body), size))


def headers_of(echo, name):
    """The values of a header as the upstream saw them."""
    return [value for each, value in echo["headers"] if each == name]
