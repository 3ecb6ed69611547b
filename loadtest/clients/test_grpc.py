"""grpcio as the client and as the server behind the gateway: the cases of gRPC's interop suite, and refusals.

The names are those of gRPC's list of interop cases, where a case is on it.
"""

import json
import os
import threading
import time

import grpc
import pytest

INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
LARGE_REQUEST, LARGE_ANSWER = 271_828, 314_159
SIZES_SENT, SIZES_WANTED = [27_182, 8, 1_828, 45_904], [31_415, 9, 2_653, 58_979]
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Each case has a connection of its own.
    ("grpc.use_local_subchannel_pool", 1),
]
WITHIN = 20

@pytest.fixture
def channel(gateway):
    os.environ["GRPC_VERBOSITY"] = "NONE"
    if gateway.secure:
        with open(gateway.ca, "rb") as roots:
            trusted = grpc.ssl_channel_credentials(roots.read())
        made = grpc.secure_channel(gateway.address, trusted, OPTIONS)
    else:
        made = grpc.insecure_channel(gateway.address, OPTIONS)
    with made as channel:
        yield channel


@pytest.fixture
def keys(account):
    return (("authorization", f"Bearer {account.key}"),)


def message(size=0, **asked):
    return json.dumps(asked).encode().ljust(size, b"\0")


def read(answer):
    return json.loads(answer.rstrip(b"\0"))


def unary(channel, method="UnaryCall", service="interop.Test"):
    return channel.unary_unary(f"/{service}/{method}")


def duplex(channel):
    return channel.stream_stream("/interop.Test/FullDuplex")


def failure(call, *arguments, **more):
    """The status that a call ends with, which must not be OK."""
    with pytest.raises(grpc.RpcError) as raised:
        answer = call(*arguments, timeout=more.pop("timeout", WITHIN), **more)
        list(answer if hasattr(answer, "__iter__") and not isinstance(answer, bytes) else [])
    return raised.value


class Asking:
    """The client's side of a stream, fed while it is open."""

    def __init__(self):
        self.waiting, self.messages, self.ended = threading.Condition(), [], False

    def say(self, **asked):
        with self.waiting:
            self.messages.append(message(**asked))
            self.waiting.notify()

    def end(self):
        with self.waiting:
            self.ended = True
            self.waiting.notify()

    def __iter__(self):
        while True:
            with self.waiting:
                self.waiting.wait_for(lambda: self.messages or self.ended, timeout=WITHIN)
                if not self.messages:
                    return
                following = self.messages.pop(0)
            yield following


@pytest.fixture
def asking():
    asking = Asking()
    yield asking
    asking.end()


# Calls that are forwarded.


def test_empty_unary(channel, keys):
    assert unary(channel, "EmptyCall")(b"", metadata=keys, timeout=WITHIN) == b""


def test_large_unary(channel, keys):
    answer = unary(channel)(message(LARGE_REQUEST, sizes=[LARGE_ANSWER]), metadata=keys, timeout=WITHIN)
    assert (len(answer), read(answer)["received"]) == (LARGE_ANSWER, LARGE_REQUEST)


def test_very_large_unary(channel, keys):
    answer = unary(channel)(message(5_000_000, sizes=[20_000_000]), metadata=keys, timeout=WITHIN)
    assert (len(answer), read(answer)["received"]) == (20_000_000, 5_000_000)


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_client_compressed_unary(channel, keys, algorithm):
    answer = unary(channel)(message(LARGE_REQUEST, sizes=[10]), metadata=keys, timeout=WITHIN, compression=algorithm)
    assert read(answer)["received"] == LARGE_REQUEST


def test_server_compressed_unary(channel, keys):
    answer, call = unary(channel).with_call(message(sizes=[LARGE_ANSWER], gzip=True), metadata=keys, timeout=WITHIN)
    assert len(answer) == LARGE_ANSWER and call.code() is grpc.StatusCode.OK


def test_client_streaming(channel, keys):
    call = channel.stream_unary("/interop.Test/StreamingInput")
    answer = call(iter([b"\0" * size for size in SIZES_SENT]), metadata=keys, timeout=WITHIN)
    assert read(answer)["received"] == sum(SIZES_SENT) == 74_922


def test_client_compressed_streaming(channel, keys):
    call = channel.stream_unary("/interop.Test/StreamingInput")
    answer = call(iter([b"\0" * size for size in SIZES_SENT]), metadata=keys, timeout=WITHIN, compression=grpc.Compression.Gzip)
    assert read(answer)["received"] == sum(SIZES_SENT)


def test_server_streaming(channel, keys):
    call = channel.unary_stream("/interop.Test/StreamingOutput")
    answers = call(message(sizes=SIZES_WANTED), metadata=keys, timeout=WITHIN)
    assert [len(answer) for answer in answers] == SIZES_WANTED


def test_server_compressed_streaming(channel, keys):
    call = channel.unary_stream("/interop.Test/StreamingOutput")
    answers = call(message(sizes=[31_415, 92_653], gzip=True), metadata=keys, timeout=WITHIN)
    assert [len(answer) for answer in answers] == [31_415, 92_653]


def test_ping_pong(channel, keys, asking):
    """Each answer is there before the next message is sent."""
    answers = duplex(channel)(iter(asking), metadata=keys, timeout=WITHIN)
    for wanted in SIZES_WANTED:
        asking.say(sizes=[wanted])
        assert len(next(answers)) == wanted
    asking.end()
    assert list(answers) == [] and answers.code() is grpc.StatusCode.OK


def test_empty_stream(channel, keys):
    answers = duplex(channel)(iter([]), metadata=keys, timeout=WITHIN)
    assert list(answers) == [] and answers.code() is grpc.StatusCode.OK


def test_custom_metadata(channel, keys):
    sent = (*keys, (INITIAL, "test_initial_metadata_value"), (TRAILING, b"\xab\xab\xab"))
    _, call = unary(channel).with_call(message(size=LARGE_REQUEST, sizes=[LARGE_ANSWER]), metadata=sent, timeout=WITHIN)
    assert dict(call.initial_metadata())[INITIAL] == "test_initial_metadata_value"
    assert dict(call.trailing_metadata())[TRAILING] == b"\xab\xab\xab"
    answers = duplex(channel)(iter([message(sizes=[9])]), metadata=sent, timeout=WITHIN)
    assert len(list(answers)) == 1
    assert dict(answers.initial_metadata())[INITIAL] == "test_initial_metadata_value"
    assert dict(answers.trailing_metadata())[TRAILING] == b"\xab\xab\xab"


def test_the_server_sees_who_calls_and_no_key(channel, keys):
    sent = (*keys, ("keyward-account", "forged"), ("x-mine", "kept"), ("mine-bin", b"\0\xff"))
    seen = read(unary(channel)(message(), metadata=sent, timeout=WITHIN))["metadata"]
    values = dict(seen)
    assert values["x-mine"] == "kept" and values["mine-bin"] == "00ff" and "authorization" not in values
    assert [value for name, value in seen if name == "keyward-account"] not in ([], ["forged"])
    assert values["keyward-account"] != "forged" and values["via"] == "2.0 keyward"


def test_rate_headers_arrive_as_initial_metadata(channel, keys):
    _, call = unary(channel).with_call(message(), metadata=keys, timeout=WITHIN)
    told = dict(call.initial_metadata())
    assert told["x-request-id"] and told["x-ratelimit-remaining"] and told["ratelimit"]


def test_status_code_and_message(channel, keys):
    status = {"code": 2, "message": "test status message"}
    for call, asked in ((unary(channel), message(status=status)), (duplex(channel), iter([message(status=status)]))):
        failed = failure(call, asked, metadata=keys)
        assert (failed.code(), failed.details()) == (grpc.StatusCode.UNKNOWN, "test status message")


@pytest.mark.parametrize("code", range(1, 17))
def test_every_status_arrives_as_the_server_sent_it(channel, keys, code):
    failed = failure(unary(channel), message(status={"code": code, "message": f"code {code}"}), metadata=keys)
    assert (failed.code().value[0], failed.details()) == (code, f"code {code}")


def test_special_status_message(channel, keys):
    text = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP \U0001f608\t\n"
    failed = failure(unary(channel), message(status={"code": 2, "message": text}), metadata=keys)
    assert (failed.code(), failed.details()) == (grpc.StatusCode.UNKNOWN, text)


def test_a_stream_that_fails_late_brings_what_came_before(channel, keys):
    call = channel.unary_stream("/interop.Test/StreamingOutput")
    answers = call(message(sizes=[5, 6], status={"code": 9, "message": "late"}), metadata=keys, timeout=WITHIN)
    assert [len(next(answers)), len(next(answers))] == [5, 6]
    with pytest.raises(grpc.RpcError) as raised:
        next(answers)
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "late")


def test_unimplemented_method(channel, keys):
    assert failure(unary(channel, "Nothing"), b"", metadata=keys).code() is grpc.StatusCode.UNIMPLEMENTED


def test_unimplemented_service(channel, keys):
    assert failure(unary(channel, service="interop.Unknown"), b"", metadata=keys).code() is grpc.StatusCode.UNIMPLEMENTED


def streams_over(channel, keys):
    """At the server."""
    return read(unary(channel)(message(), metadata=keys, timeout=WITHIN))["ended"]


def until_over(channel, keys, before):
    """The server is told of a cancellation too."""
    deadline = time.monotonic() + WITHIN
    while streams_over(channel, keys) == before:
        assert time.monotonic() < deadline, "the server never heard that the call was cancelled"


def test_cancel_after_begin(channel, keys, asking):
    call = channel.stream_unary("/interop.Test/StreamingInput").future(iter(asking), metadata=keys, timeout=WITHIN)
    call.cancel()
    assert call.cancelled() and call.code() is grpc.StatusCode.CANCELLED
    assert unary(channel, "EmptyCall")(b"", metadata=keys, timeout=WITHIN) == b""


def test_cancel_after_first_response(channel, keys, asking):
    before = streams_over(channel, keys)
    answers = duplex(channel)(iter(asking), metadata=keys, timeout=WITHIN)
    asking.say(sizes=[31_415])
    assert len(next(answers)) == 31_415
    answers.cancel()
    assert answers.code() is grpc.StatusCode.CANCELLED
    until_over(channel, keys, before)


def test_timeout_on_sleeping_server(channel, keys, asking):
    before = streams_over(channel, keys)
    asking.say(sleep=10)
    answers = duplex(channel)(iter(asking), metadata=keys, timeout=0.2)
    with pytest.raises(grpc.RpcError) as raised:
        next(answers)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until_over(channel, keys, before)


def test_the_deadline_reaches_the_server(channel, keys):
    told = read(unary(channel)(message(), metadata=keys, timeout=15))
    assert 1 < told["left"] <= 15


def test_concurrent_large_unary(channel, keys):
    asked = message(LARGE_REQUEST, sizes=[LARGE_ANSWER])
    calls = [unary(channel).future(asked, metadata=keys, timeout=WITHIN) for _ in range(100)]
    assert [len(call.result()) for call in calls] == [LARGE_ANSWER] * 100


def test_a_slow_reader_holds_back_a_stream_and_no_other(channel, keys):
    call = channel.unary_stream("/interop.Test/StreamingOutput")
    answers = call(message(sizes=[1_000_000] * 20), metadata=keys, timeout=WITHIN)
    for _ in range(10):
        assert unary(channel, "EmptyCall")(b"", metadata=keys, timeout=WITHIN) == b""
    assert sum(len(answer) for answer in answers) == 20_000_000


def test_an_open_stream_ends_when_its_key_is_revoked(channel, fleeting, asking):
    answers = duplex(channel)(iter(asking), metadata=(("authorization", f"Bearer {fleeting.key}"),), timeout=WITHIN)
    asking.say(sizes=[8])
    assert len(next(answers)) == 8
    fleeting.revoke()
    with pytest.raises(grpc.RpcError) as raised:
        next(answers)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


# Calls that the gateway refuses by itself.


def test_a_missing_or_wrong_key_is_unauthenticated(channel, ended):
    for metadata in (
        (),
        (("authorization", "Bearer pk_live_wrong"),),
        (("x-api-key", "nothing"),),
        (("authorization", f"Bearer {ended.key}"),),
    ):
        failed = failure(unary(channel), message(), metadata=metadata)
        assert failed.code() is grpc.StatusCode.UNAUTHENTICATED and failed.details()


def test_a_refusal_of_a_stream_is_read_rightly(channel):
    assert failure(duplex(channel), iter([message()] * 3)).code() is grpc.StatusCode.UNAUTHENTICATED
    call = channel.stream_unary("/interop.Test/StreamingInput")
    assert failure(call, iter([b"\0" * LARGE_REQUEST] * 20)).code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_missing_customer_key_is_permission_denied(channel, keys):
    failed = failure(unary(channel, service="interop.Customers"), message(), metadata=keys)
    assert failed.code() is grpc.StatusCode.PERMISSION_DENIED


def test_an_upstream_that_is_away_is_unavailable(channel, keys):
    failed = failure(unary(channel, service="interop.Nowhere"), message(), metadata=keys)
    assert failed.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(failed.trailing_metadata() or failed.initial_metadata())["x-request-id"]


def test_a_rate_that_is_used_up_is_resource_exhausted(channel, one_call):
    metadata = (("authorization", f"Bearer {one_call.key}"),)
    # What comes of the calls before is another case's matter.
    codes = set()
    while grpc.StatusCode.RESOURCE_EXHAUSTED not in codes:
        codes.add(outcome(channel, metadata))
    assert len(codes) <= 2


def outcome(channel, metadata):
    try:
        unary(channel, "EmptyCall")(b"", metadata=metadata, timeout=WITHIN)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK
