"""nghttp, h2load, wrk and oha: many calls on few connections, every one of them answered."""

import json
import re
import shutil
from pathlib import Path

import pytest
from programs import run

OHA = shutil.which("oha") or shutil.which("oha", path=Path(__file__).parents[2] / "target/tools/bin")


@pytest.fixture
def key(account):
    return f"Authorization: Bearer {account.key}"


@pytest.mark.parametrize(
    "words",
    [
        ["-n2000", "-c1", "-m1"],
        ["-n5000", "-c2", "-m32"],
        ["-n5000", "-c1", "-m100"],
        ["-n1000", "-c50", "-m4"],
        ["-n2000", "-c4", "-m10", "-w10", "-W10"],
        ["-n2000", "-c8", "--h1"],
        ["-n500", "-c4", "-m1", "--h1", "-t2"],
    ],
    ids=" ".join,
)
def test_h2load_gets_every_answer(gateway, key, words):
    ran = run("h2load", *words, "-H", key, f"{gateway.url}/fast/plain")
    told = ran.stdout.decode()
    calls = int(words[0][2:])
    assert f"{calls} total, {calls} started, {calls} done, {calls} succeeded, 0 failed, 0 errored, 0 timeout" in told, told
    assert f"{calls} 2xx, 0 3xx, 0 4xx, 0 5xx" in told
    protocol = re.search(r"Application protocol: (.*)", told)
    assert protocol[1] == ("http/1.1" if "--h1" in words else "h2" if gateway.secure else "h2c")


def test_h2load_gets_large_answers_and_sends_bodies_on_parallel_streams(gateway, key, tmp_path):
    told = run("h2load", "-n40", "-c2", "-m20", "-H", key, f"{gateway.url}/fast/bytes/1000000").stdout.decode()
    assert "40 succeeded" in told and "40 2xx" in told and "40000000) data" in told, told
    body = tmp_path / "body"
    body.write_bytes(b"x" * 300_000)
    told = run("h2load", "-n100", "-c2", "-m20", "-d", body, "-H", key, f"{gateway.url}/fast/echo").stdout.decode()
    assert "100 succeeded" in told and "100 2xx" in told, told


def test_h2load_is_refused_on_streams_that_live_on(gateway):
    told = run("h2load", "-n1000", "-c2", "-m50", f"{gateway.url}/fast/plain").stdout.decode()
    assert "1000 done" in told and "1000 4xx" in told and "0 errored" in told, told


def test_nghttp_gets_parallel_answers_by_priority(gateway, key, tmp_path):
    paths = [f"{gateway.url}/fast/bytes/{size}" for size in (1, 70_000, 1_000_000)]
    ran = run("nghttp", "--null-out", "--stat", "--no-verify-peer", "-H", key, *paths)
    told = ran.stdout.decode()
    assert len(re.findall(r" 200 +\S+ /fast/bytes/", told)) == 3, told
    body = tmp_path / "body"
    body.write_bytes(b"x" * 200_000)
    told = run("nghttp", "-v", "--no-verify-peer", "-d", body, "-H", key, "-H", "trailer: x-after", "--trailer", "x-after: 1", f"{gateway.url}/fast/echo").stdout.decode()
    assert ":status: 200" in told and '"body_length":200000' in told, told[-2000:]
    assert "x-after" not in json.loads(told[told.index("{") : told.rindex("}") + 1].split("\n")[0])["trailers"]


def test_nghttp_sees_which_settings_bind_it(gateway, key):
    told = run("nghttp", "-v", "-n", "--no-verify-peer", "-H", key, f"{gateway.url}/fast/plain").stdout.decode()
    assert "SETTINGS_MAX_CONCURRENT_STREAMS(0x03):100" in told, told
    assert "SETTINGS_MAX_HEADER_LIST_SIZE" in told and "ENABLE_CONNECT_PROTOCOL" not in told


def test_wrk_gets_every_answer(gateway, key):
    told = run("wrk", "-t2", "-c32", "-d2s", "-H", key, f"{gateway.url}/fast/plain").stdout.decode()
    assert int(re.search(r"(\d+) requests in", told)[1]) > 100, told
    assert "Non-2xx" not in told and "Socket errors" not in told, told


@pytest.mark.skipif(OHA is None, reason="oha is not built; `make loadtest` builds it into target/tools")
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_oha_gets_every_answer(gateway, key, version):
    spoken = ["--http-version", version, "--insecure", "--no-tui", "--output-format", "json"]
    parallel = ["-p", "10"] if version == "2" else []
    told = json.loads(run(OHA, *spoken, *parallel, "-n", 2000, "-c", 8, "-H", key, f"{gateway.url}/fast/plain").stdout)
    assert told["statusCodeDistribution"] == {"200": 2000} and not told["errorDistribution"], told
