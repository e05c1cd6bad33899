"""What every script here uses: where the cluster is, and checks that say what was compared.

`CLIENT_TEST_NODES` lists the nodes' client addresses, `host:port` separated by commas.
"""

import os
import sys
import time

NODES = [
    (host, int(port))
    for host, port in (node.rsplit(":", 1) for node in os.environ["CLIENT_TEST_NODES"].split(","))
]

checks = 0


def same(found, expected, what=""):
    """Fails unless both are equal, in value and in type."""
    global checks
    checks += 1
    if found != expected or type(found) is not type(expected):
        raise AssertionError(f"{what}: found {found!r}, expected {expected!r}")


def true(condition, what):
    """Fails unless the condition holds."""
    global checks
    checks += 1
    if not condition:
        raise AssertionError(what)


def fails(kind, begin, action, *arguments, **options):
    """Fails unless the action raises that kind of error with a text that begins so."""
    global checks
    checks += 1
    try:
        found = action(*arguments, **options)
    except kind as error:
        if not str(error).startswith(begin):
            raise AssertionError(f"error {error!r} does not begin with {begin!r}") from error
        return
    raise AssertionError(f"found {found!r}, expected an error that begins with {begin!r}")


def until(condition, what, seconds=30):
    """Waits until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        true(time.monotonic() < end, f"{what}: not within {seconds} s")
        time.sleep(0.02)


def run(*tests):
    """Runs the tests, each a function, and prints how many checks they made."""
    for test in tests:
        name = getattr(test, "__name__", "test")
        begin = time.monotonic()
        test()
        print(f"{name}: {time.monotonic() - begin:.2f} s", flush=True)
    print(f"{checks} checks passed", flush=True)
    sys.exit(0)
