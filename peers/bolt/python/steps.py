"""Runs steps, prints `ok NAME ...` or `FAIL NAME ...` for each, and a last line."""

import itertools
import os
import re
import sys
import time
import traceback

_RUN = f"{time.monotonic_ns():x}"
_COUNT = itertools.count(1)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def nonce():
    """Text that no other call of any process uses."""
    return f"{_RUN}-{next(_COUNT)}"


def text(length):
    """A text of this many characters that starts with a nonce, as far as it fits."""
    start = nonce() + " "
    return (start + _LETTERS * (length // len(_LETTERS) + 1))[:length]


def brief(value):
    s = re.sub(r"\s+", " ", str(value))
    return s if len(s) <= 160 else s[:160] + "..."


def check(right, seen):
    if not right:
        raise AssertionError(f"saw {brief(seen)}")


def equal(want, seen):
    if want != seen:
        raise AssertionError(f"wanted {brief(want)}, saw {brief(seen)}")


def ask(what):
    """Asks whoever started this process to do something, and waits until it says that it is done."""
    print(f"await {what}", flush=True)
    if not sys.stdin.readline():
        raise EOFError(f"nobody there to do: {what}")


class Steps:
    def __init__(self):
        self.ok = 0
        self.failed = 0

    def step(self, name, body):
        start = time.monotonic()
        try:
            verdict, detail = "ok", body()
            self.ok += 1
        except BaseException as e:
            verdict, detail = "FAIL", repr(e)
            self.failed += 1
            if os.environ.get("TRACE"):
                traceback.print_exc()
        took = int((time.monotonic() - start) * 1000)
        print(f"{verdict} {name}: {brief(detail)} ({took} ms)", flush=True)

    def end(self):
        passed = self.failed == 0 and self.ok > 0
        print(f"{'PASS' if passed else 'FAILED'} {self.ok} ok, {self.failed} failed", flush=True)
        # The library's threads would keep the process.
        os._exit(0 if passed else 1)
