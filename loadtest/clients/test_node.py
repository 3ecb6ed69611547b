"""Node: fetch, its HTTP/1.1 and HTTP/2 clients, and `ws`. The cases are in node.test.mjs."""

import re
from pathlib import Path

from programs import run

# Where Debian's package has it.
WS = "/usr/share/nodejs/ws/index.js"


def test_node_is_served(gateway, account, one_call):
    environment = {
        "URL_OF_GATEWAY": gateway.url,
        "KEY": account.key,
        "LIMITED": one_call.key,
        "NODE_EXTRA_CA_CERTS": gateway.ca,
        "WS_PACKAGE": WS,
    }
    cases = Path(__file__).with_name("node.test.mjs")
    ran = run("node", "--test", "--test-reporter=tap", cases, env=environment, okay=(0, 1))
    told = ran.stdout.decode()
    failed = re.findall(r"(?m)^ *not ok.*(?:\n(?! *(?:not )?ok).*){0,40}", told)
    assert ran.returncode == 0 and not failed, "\n".join(failed) + ran.stderr.decode()[-2000:]
    assert len(re.findall(r"(?m)^ *ok \d+ - (?:fetch|http|http2|ws): ", told)) == 20, told
