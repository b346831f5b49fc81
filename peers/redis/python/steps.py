"""Runs steps, prints `ok NAME: ...` or `FAIL NAME: ...` for each, and a last line."""

import hashlib
import re
import traceback


def check(right, seen=""):
    if not right:
        raise AssertionError(f"saw {brief(seen)}")


def equal(want, seen):
    if want != seen:
        raise AssertionError(f"wanted {brief(want)}, saw {brief(seen)}")


def refused(kind, call, text=""):
    """The message of the error that `call` has to raise."""
    try:
        seen = call()
    except kind as e:
        check(text in str(e), str(e))
        return str(e)
    raise AssertionError(f"wanted {kind.__name__}, saw {brief(seen)}")


def brief(value):
    s = re.sub(r"\s+", " ", value if isinstance(value, str) else plain(value))
    return s if len(s) <= 200 else s[:200] + "..." + hashlib.sha1(s.encode()).hexdigest()[:8]


def plain(value):
    """As text that has no order of its own where the value has none."""
    if isinstance(value, dict):
        items = sorted((plain(k), plain(v)) for k, v in value.items())
        return "{" + ", ".join(f"{k}: {v}" for k, v in items) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(plain(v) for v in value)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(plain(v) for v in value) + "]"
    return repr(value)


class Steps:
    def __init__(self):
        self.ok = 0
        self.failed = 0

    def step(self, name, body):
        try:
            detail = body()
            print(f"ok {name}: {brief(detail)}", flush=True)
            self.ok += 1
        except BaseException as e:
            self.fail(name, e)

    async def step_async(self, name, body):
        try:
            detail = await body()
            print(f"ok {name}: {brief(detail)}", flush=True)
            self.ok += 1
        except BaseException as e:
            self.fail(name, e)

    def fail(self, name, e):
        traceback.print_exc()
        print(f"FAIL {name}: {brief(repr(e))}", flush=True)
        self.failed += 1

    def finish(self):
        verdict = "FAILED" if self.failed else "PASS"
        print(f"{verdict} {self.ok} ok, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.ok else 0
