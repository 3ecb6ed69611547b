"""A gRPC server on grpcio with the methods that gRPC's interop cases need. A message is JSON, filled up with zero bytes.

What a message may ask for: `sizes` of the answers, `status` with `code` and `message`, `gzip` answers, `sleep` in seconds.
"""

import asyncio
import json

import grpc
import grpc.aio

INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
CODES = {code.value[0]: code for code in grpc.StatusCode}
# How many streams of both directions are over: one that a client gave up ends too, once the server is told.
ENDED = {"streams": 0}


def read(message):
    return json.loads(message.rstrip(b"\0") or b"{}")


def reply(size, **told):
    return json.dumps(told).encode().ljust(size, b"\0")


async def begin(context):
    """Sends back the metadata that the client asked for, and waits with nothing else."""
    received = dict(context.invocation_metadata())
    if INITIAL in received:
        await context.send_initial_metadata([(INITIAL, received[INITIAL])])
    if TRAILING in received:
        context.set_trailing_metadata([(TRAILING, received[TRAILING])])


def compress(asked, context):
    """To be called before anything is answered."""
    if "gzip" in asked:
        context.set_compression(grpc.Compression.Gzip)


async def obey(asked, context):
    await asyncio.sleep(asked.get("sleep", 0))
    if "status" in asked:
        await context.abort(CODES[asked["status"]["code"]], asked["status"]["message"])


async def empty_call(message, context):
    return b""


async def unary_call(message, context):
    await begin(context)
    asked = read(message)
    compress(asked, context)
    await obey(asked, context)
    seen = [[name, value if isinstance(value, str) else value.hex()] for name, value in context.invocation_metadata()]
    left = context.time_remaining()
    return reply(asked.get("sizes", [0])[0], received=len(message), metadata=seen, left=left, ended=ENDED["streams"])


async def streaming_input(messages, context):
    await begin(context)
    total = 0
    async for message in messages:
        total += len(message)
    return reply(0, received=total)


async def streaming_output(message, context):
    await begin(context)
    asked = read(message)
    compress(asked, context)
    for size in asked.get("sizes", []):
        yield reply(size)
    await obey(asked, context)


async def full_duplex(messages, context):
    await begin(context)
    context.add_done_callback(count)
    async for message in messages:
        asked = read(message)
        await obey(asked, context)
        for size in asked.get("sizes", []):
            yield reply(size)


def count(context):
    ENDED["streams"] += 1


HANDLERS = {
    "EmptyCall": grpc.unary_unary_rpc_method_handler(empty_call),
    "UnaryCall": grpc.unary_unary_rpc_method_handler(unary_call),
    "StreamingInput": grpc.stream_unary_rpc_method_handler(streaming_input),
    "StreamingOutput": grpc.unary_stream_rpc_method_handler(streaming_output),
    "FullDuplex": grpc.stream_stream_rpc_method_handler(full_duplex),
}


async def start(host, port):
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("interop.Test", HANDLERS),))
    server.add_insecure_port(f"{host}:{port}")
    await server.start()
    return server
