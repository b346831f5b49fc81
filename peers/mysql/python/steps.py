"""Runs steps but those of SKIP_STEPS (`NAME;NAME`), prints `ok NAME: ...` or `FAIL NAME: ...` for each, and a last line."""

import os
import re
import time
import traceback


def check(right, seen=""):
    if not right:
        raise AssertionError(f"saw {brief(seen)}")


def equal(want, seen):
    if want != seen:
        raise AssertionError(f"wanted {brief(want)}, saw {brief(seen)}")


def brief(value):
    s = re.sub(r"\s+", " ", value if isinstance(value, str) else repr(value))
    return s if len(s) <= 300 else f"{s[:300]}... ({len(s)})"


def until(condition, what):
    """Asks until it is so."""
    end = time.monotonic() + 20
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"still not: {what}")
        time.sleep(0.02)


class Steps:
    def __init__(self):
        self.skipped = os.environ.get("SKIP_STEPS", "").split(";")
        self.ok = 0
        self.failed = 0

    def step(self, name, body):
        if name in self.skipped:
            return
        try:
            print(f"ok {name}: {brief(body())}", flush=True)
            self.ok += 1
        except BaseException as e:
            traceback.print_exc()
            print(f"FAIL {name}: {brief(repr(e))}", flush=True)
            self.failed += 1

    def finish(self):
        verdict = "FAILED" if self.failed else "PASS"
        print(f"{verdict} {self.ok} ok, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.ok else 0
