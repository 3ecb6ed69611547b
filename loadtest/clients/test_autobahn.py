"""The Autobahn suite itself, where `.ci/clients` found a Python that runs it: its fuzzing client against an upstream that
echoes, through the gateway. Its long performance cases are left to our own suite.
"""

import json
import os
from pathlib import Path

import pytest
from programs import run

FOLDER = Path(__file__).parents[2] / "target/tools/autobahn"
RUN = "import site, sys; sys.path.insert(0, {0!r}); site.addsitedir({0!r}); from autobahntestsuite import wstest; wstest.run()"
# Messages of up to 16 MiB by octets, and thousands of compressed ones: minutes each in its Python.
LEFT_OUT = ["9.3.*", "9.4.*", "9.5.*", "9.6.*", "9.7.*", "9.8.*", "9.1.4", "9.1.5", "9.1.6", "9.2.4", "9.2.5", "9.2.6", "12.*", "13.*"]
# This upstream's library takes a close within a fragmented message for a violation, also without the gateway.
OF_THE_UPSTREAM = ["7.1.5"]
ALL = "KEYWARD_ALL_OF_AUTOBAHN" in os.environ


@pytest.mark.skipif(not (FOLDER / "version").exists(), reason="no Python that runs the Autobahn suite; our own suite has its categories")
@pytest.mark.timeout(3000 if ALL else 60)
def test_autobahn_finds_nothing(gateway, tmp_path):
    spec = {
        "outdir": str(tmp_path / "reports"),
        "servers": [{"agent": "gateway", "url": f"{gateway.socket_url}/open-ws/echo"}],
        "cases": ["*"],
        "exclude-cases": OF_THE_UPSTREAM + ([] if ALL else LEFT_OUT),
        "exclude-agent-cases": {},
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    python = (FOLDER / "python").read_text().strip()
    words = ["-c", RUN.format(str(FOLDER)), "-m", "fuzzingclient", "-s", tmp_path / "spec.json"]
    run(python, *words, cwd=tmp_path, within=2900 if ALL else 55)
    told = json.loads((tmp_path / "reports/index.json").read_text())["gateway"]
    good = ("OK", "NON-STRICT", "INFORMATIONAL")
    bad = {case: each for case, each in told.items() if each["behavior"] not in good or each["behaviorClose"] not in good}
    assert not bad, bad
    assert len(told) >= 240
