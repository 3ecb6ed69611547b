"""Where the gateways are, and accounts to call them with. Every case runs in clear text and over TLS."""

import json
import os
import ssl
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

STACK = json.loads(Path(os.environ["KEYWARD_CLIENTS"]).read_text())


@dataclass(frozen=True)
class Gateway:
    """One of the two, as a client meets it."""

    name: str
    address: str
    admin: str

    @property
    def secure(self):
        return self.name == "tls"

    @property
    def url(self):
        return f"{'https' if self.secure else 'http'}://{self.address}"

    @property
    def socket_url(self):
        return f"{'wss' if self.secure else 'ws'}://{self.address}"

    @property
    def host(self):
        return self.address.rsplit(":", 1)[0]

    @property
    def port(self):
        return int(self.address.rsplit(":", 1)[1])

    @property
    def ca(self):
        return STACK["ca"]

    def context(self, *protocols):
        """What checks the gateway's certificate, and offers these protocols; `None` in clear text."""
        if not self.secure:
            return None
        context = ssl.create_default_context(cafile=self.ca)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


GATEWAYS = [Gateway(name, STACK[name], STACK[f"{name}_admin"]) for name in ("clear", "tls")]


@dataclass(frozen=True)
class Account:
    """A company with a key."""

    id: str
    key_id: str
    key: str

    @property
    def bearer(self):
        return {"Authorization": f"Bearer {self.key}"}

    def revoke(self):
        """Ends the key; both gateways know when this returns."""
        answer = surface("DELETE", f"/admin/customers/{self.id}/api-keys/{self.key_id}")
        assert answer.headers["keyward-propagation"].startswith("complete"), answer.headers


def surface(method, path, body=None):
    request = urllib.request.Request(
        STACK["api"] + path,
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"x-api-key": STACK["admin_key"], "content-type": "application/json"},
    )
    return urllib.request.urlopen(request, timeout=20)


def open_account(rate=1_000_000):
    """A new one with this rate a second, and the same burst."""
    fields = {
        "company_name": f"Clients {uuid.uuid4()}",
        "contact_email": "it@example.com",
        "tier": "custom",
        "overrides": {"rate_limit": rate, "burst_limit": rate},
    }
    with surface("POST", "/admin/customers", fields) as answer:
        made = json.load(answer)
    return Account(made["customer"]["customer_id"], made["customer"]["api_key_id"], made["api_key"])


@pytest.fixture(params=GATEWAYS, ids=lambda gateway: gateway.name)
def gateway(request):
    return request.param


@pytest.fixture(scope="session")
def account():
    """One whose limits no case reaches."""
    return open_account()


@pytest.fixture
def one_call():
    """One that may make a single call for a long while."""
    return open_account(rate=1)


@pytest.fixture
def ended():
    """One whose key was revoked."""
    account = open_account()
    account.revoke()
    return account


@pytest.fixture
def fleeting():
    """One whose key a case may revoke."""
    return open_account()
