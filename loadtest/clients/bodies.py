"""Bodies that clients send and get, and how they are told apart."""

import hashlib

MIB = 1024 * 1024
PIECE = bytes(range(256)) * 256
#: What `download` answers with, and its digest.
DOWNLOAD = 50 * MIB
DOWNLOADED = hashlib.sha256(PIECE * (DOWNLOAD // len(PIECE))).hexdigest()
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
