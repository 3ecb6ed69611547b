"""Runs the programs of others and gives what they wrote."""

import os
import subprocess


def run(*words, within=50, okay=(0,), **more):
    """Runs it to its end. The environment's proxies and settings stay out of it."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment.update(more.pop("env", {}))
    ran = subprocess.run([str(word) for word in words], capture_output=True, timeout=within, env=environment, **more)
    assert ran.returncode in okay, f"{words[0]} ended with {ran.returncode}:\n{ran.stdout[-2000:]!r}\n{ran.stderr[-2000:]!r}"
    return ran
