"""curl: HTTP/1.0, HTTP/1.1 and HTTP/2, by ALPN and by prior knowledge."""

import hashlib
import json
import subprocess
import uuid

import pytest
from bodies import DOWNLOADS, MIB, PLAIN, UPLOAD, UPLOADED, headers_of
from programs import run


@pytest.fixture(params=["1.1", "2"])
def curl(request, gateway, account, tmp_path):
    """Runs curl; gives each answer's head lines and what the body was."""
    spoken = {"1.1": "--http1.1", "2": "--http2" if gateway.secure else "--http2-prior-knowledge"}[request.param]
    upload = tmp_path / "upload"
    upload.write_bytes(UPLOAD)

    def call(*words, okay=(0,)):
        heads, body = tmp_path / "heads", tmp_path / "body"
        always = ["--silent", "--show-error", "--cacert", gateway.ca, "--max-time", 40, "--dump-header", heads, "--output", body]
        paths = [gateway.url + word if isinstance(word, str) and word.startswith("/") else word for word in words]
        key = ["--header", f"Authorization: Bearer {account.key}"] if "--no-key" not in words else []
        ran = run("curl", spoken, *always, *key, *(word for word in paths if word != "--no-key"), okay=okay)
        call.errors = ran.stderr.decode()
        call.code = ran.returncode
        call.heads = [head.split("\r\n") for head in heads.read_bytes().decode().strip().split("\r\n\r\n")]
        return body.read_bytes() if body.exists() else b""

    call.version = f"HTTP/{request.param}"
    call.upload = upload
    call.gateway = gateway
    call.command = ["curl", spoken, "--cacert", gateway.ca, "--silent", "--header", f"Authorization: Bearer {account.key}"]
    return call


def statuses(curl):
    return [int(head[0].split()[1]) for head in curl.heads if head[0].startswith("HTTP/")]


def reuses(curl):
    if curl.version == "HTTP/2" and not curl.gateway.secure:
        pytest.skip("curl 7.88 can't use a connection twice that it began by prior knowledge, with no server")


def test_the_protocol_that_was_asked_for_is_spoken(curl):
    echo = json.loads(curl("/echo?x=%2e%2E&y"))
    assert curl.heads[0][0].startswith(f"{curl.version} 200")
    assert echo["target"] == "/echo?x=%2e%2E&y"
    assert headers_of(echo, "via") == ["1.1 keyward" if curl.version == "HTTP/1.1" else "2.0 keyward"]


def test_an_old_client_without_http_1_1_is_served(gateway, account):
    ran = run(
        # Its name for HTTP/1.0 is one that no server knows.
        "curl", "--http1.0", "--no-alpn", "--silent", "--include", "--cacert", gateway.ca, "--header", f"Authorization: Bearer {account.key}",
        f"{gateway.url}/download?length=100000&chunked",
    )
    head, _, body = ran.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.") and b"chunked" not in head and len(body) == 100_000


def test_bodies_of_each_kind_arrive_whole(curl):
    sent = [
        ("--data-binary", f"@{curl.upload}"),
        ("--upload-file", curl.upload, "--request", "POST"),
        ("--upload-file", curl.upload, "--request", "POST", "--header", "Transfer-Encoding: chunked"),
        ("--header", "Expect: 100-continue", "--data-binary", f"@{curl.upload}"),
    ]
    for words in sent:
        if curl.version == "HTTP/2" and "Transfer-Encoding: chunked" in words:
            continue
        echo = json.loads(curl(*words, "/echo"))
        assert (echo["method"], echo["length"], echo["sha256"]) == ("POST", len(UPLOAD), UPLOADED)
    form = json.loads(curl("--form", "field=value", "--form", f"file=@{curl.upload}", "/echo"))
    assert headers_of(form, "content-type")[0].startswith("multipart/form-data; boundary=") and form["length"] > len(UPLOAD)


def test_continue_is_said_before_the_body_is_sent(curl):
    # Over HTTP/2 it goes on by itself after a second.
    patience = "30" if curl.version == "HTTP/1.1" else "1"
    body = curl("--header", "Expect: 100-continue", "--expect100-timeout", patience, "--data-binary", f"@{curl.upload}", "/wire/continue")
    assert body.endswith(str(len(UPLOAD)).encode())
    if curl.version == "HTTP/1.1":
        assert statuses(curl) == [100, 200]


def test_a_refused_body_is_never_sent(curl):
    """The refusal comes in place of the 100."""
    words = ("--header", "Expect: 100-continue", "--expect100-timeout", "30", "--write-out", "%{stderr}%{size_upload}")
    body = curl(*words, "--data-binary", f"@{curl.upload}", "/small/echo")
    assert (statuses(curl), json.loads(body)["error"]["code"]) == ([413], "PAYLOAD_TOO_LARGE")
    if curl.version == "HTTP/1.1":
        assert curl.errors == "0"
    body = curl("--no-key", *words, "--data-binary", f"@{curl.upload}", "/echo")
    assert (statuses(curl), json.loads(body)["error"]["code"]) == ([401], "UNAUTHORIZED")


def test_a_refusal_is_read_while_the_body_is_still_being_sent(curl):
    body = curl("--header", "Expect:", "--data-binary", f"@{curl.upload}", "/small/echo")
    assert (statuses(curl), json.loads(body)["error"]["code"]) == ([413], "PAYLOAD_TOO_LARGE")


def test_downloads_arrive_whole(curl):
    for framing, length, wanted in DOWNLOADS:
        assert hashlib.sha256(curl(f"/download?length={length}&{framing}")).hexdigest() == wanted
    assert curl("--limit-rate", "10M", f"/download?length={8 * MIB}&chunked") == curl(f"/download?length={8 * MIB}")
    assert curl("/wire/until-close") == b"hello"


def test_answers_without_a_body_have_none(curl):
    assert curl("--head", "/download?length=1234") in (b"", b"\r\n".join(line.encode() for line in curl.heads[0]) + b"\r\n\r\n")
    assert "content-length: 1234" in [line.lower() for line in curl.heads[0]]
    for status in (204, 304):
        assert (curl(f"/status?code={status}"), statuses(curl)) == (b"", [status])


def test_gzip_passes_through(curl):
    assert curl("--compressed", "/gzip") == PLAIN
    assert curl("/gzip")[:2] == b"\x1f\x8b"


def test_redirects_and_cookies_pass_through(curl, tmp_path):
    reuses(curl)
    jar = tmp_path / "cookies"
    echo = json.loads(curl("--location", "--cookie-jar", jar, "--cookie", jar, "/redirect"))
    assert statuses(curl) == [302, 200] and echo["target"] == "/echo?from=redirect"
    assert headers_of(echo, "cookie")[0].count("=") == 2
    assert "first" in jar.read_text() and "second" in jar.read_text()


def test_a_redirected_body_is_sent_again(curl):
    """The upstream redirects it before it has read it."""
    reuses(curl)
    assert json.loads(curl("--location", "--data-binary", "x", "/redirect?code=307"))["length"] == 1
    assert statuses(curl) == [307, 200]


def test_one_connection_serves_many_calls_and_refusals(curl):
    reuses(curl)
    paths = ["/echo", "/customers/echo", "/echo", "/nowhere", "/status?code=204", "/echo"]
    words = [word for path in paths for word in (curl.gateway.url + path, "--output", "/dev/null")]
    ran = run(*curl.command, "--write-out", "%{http_code} %{num_connects}\n", *words)
    told = [line.split() for line in ran.stdout.decode().splitlines()]
    assert [status for status, _ in told] == ["200", "403", "200", "503", "204", "200"]
    assert sum(int(connects) for _, connects in told) == 1


def test_parallel_transfers_arrive_whole(curl):
    reuses(curl)
    words = [word for number in range(30) for word in (f"{curl.gateway.url}/download?length={number * 10_000}", "--output", "/dev/null")]
    ran = run(*curl.command, "--parallel", "--write-out", "%{http_code} %{size_download}\n", *words)
    assert sorted(ran.stdout.decode().split("\n")[:-1]) == sorted(f"200 {number * 10_000}" for number in range(30))


def test_events_arrive_before_the_answer_ends(curl):
    name = uuid.uuid4().hex
    with subprocess.Popen([*curl.command, "--no-buffer", f"{curl.gateway.url}/events?name={name}"], stdout=subprocess.PIPE) as reading:
        assert reading.stdout.readline() == b"data: first\n"
        curl(f"/release?name={name}")
        assert b"data: last" in reading.stdout.read()
    assert reading.returncode == 0


def test_trailers_arrive_after_the_body(curl):
    # HTTP/1.1 knows only from TE that the client takes trailers.
    assert curl("--header", "TE: trailers", "/wire/trailers") == b"hello"
    assert any(line.lower() == "x-checksum: abc" for head in curl.heads for line in head)


def test_early_hints_harm_no_answer(curl):
    assert curl("/wire/hints") == b"hello"
    # hyper's servers send no interim answers but 100.
    assert statuses(curl) in ([103, 200], [200])


def test_an_answer_that_breaks_off_is_an_error_to_the_client(curl):
    for how in ("cut-length", "cut-chunked"):
        curl(f"/wire/{how}", okay=(18, 52, 56, 92))


def test_the_certificate_has_the_name_that_was_asked_for(gateway, account):
    if not gateway.secure:
        pytest.skip("no certificate")
    place = ("--resolve", f"api.example:{gateway.port}:{gateway.host}", "--cacert", gateway.ca)
    for version in ("1.2", "1.3"):
        spoken = ("--tlsv" + version, "--tls-max", version)
        ran = run("curl", "--silent", *spoken, *place, f"https://api.example:{gateway.port}/open/echo")
        assert headers_of(json.loads(ran.stdout), "x-forwarded-proto") == ["https"]
    other = f"other.example:{gateway.port}"
    run("curl", "--resolve", f"{other}:{gateway.host}", "--cacert", gateway.ca, f"https://{other}/", okay=(60,))
    run("curl", "--tls-max", "1.1", *place, f"https://api.example:{gateway.port}/", okay=(35, 4))
