"""client.py STEPS HOST:PORT VERSION SERVER: anthunder's two clients, protobuf over Bolt v1."""

import asyncio
import concurrent.futures
import logging
import sys
import threading
import time

from anthunder import SERVICE_MAP, AioClient, Client
from anthunder.command.heartbeat import HeartbeatRequest
from anthunder.protocol import BoltResponse
from google.protobuf.wrappers_pb2 import StringValue
from mytracer import SpanContext

from steps import Steps, ask, check, equal, nonce, text

SERVICE = "wiremesh.peers.ProtoHello:1.0"
SIZES = [1, 100, 4096, 65535, 65536, 1 << 20, 16 << 20]
STATUS = "RESPSTATUS"


class Errors(logging.Handler):
    """What anthunder says about answers that are errors, which it tells only its log."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.seen = []

    def emit(self, record):
        self.seen.append(record.getMessage())


class Peer:
    def __init__(self, address):
        self.address = address
        SERVICE_MAP[SERVICE] = address
        SERVICE_MAP["wiremesh.peers.Nobody:1.0"] = address
        self.aio = AioClient("wiremesh-client")
        self.plain = Client("wiremesh-client")
        self.errors = Errors()
        logging.getLogger("anthunder").addHandler(self.errors)
        logging.getLogger("anthunder").propagate = False
        self.steps = Steps()

    def call(self, method, value, timeout=30_000, service=SERVICE):
        body = StringValue(value=value).SerializeToString()
        answer = self.aio.invoke_sync(service, method, body, spanctx=SpanContext(), timeout_ms=timeout)
        return StringValue.FromString(answer).value

    def echo(self, value):
        return self.call("echo", value, 5000)

    def future(self, method, value, **extra):
        body = StringValue(value=value).SerializeToString()
        return self.aio.invoke_async(
            SERVICE, method, body, spanctx=SpanContext(), timeout_ms=30_000, **extra
        )

    def refused(self, call):
        """The status of an error answer. The library loses all else, and has a KeyError instead."""
        self.errors.seen.clear()
        start = time.monotonic()
        try:
            value = call()
        except KeyError:
            pass
        else:
            raise AssertionError(f"wanted an error, saw {value!r}")
        took = time.monotonic() - start
        status = [line for line in self.errors.seen if STATUS in line]
        check(len(status) == 1, self.errors.seen)
        check(took < 2, f"{took} s")
        return status[0]

    def all(self, server):
        self.values()
        self.styles()
        self.errors_shown(server)
        self.steps.step("heartbeats", self.heartbeats)

    def values(self):
        for size in SIZES:
            def same(size=size):
                sent = text(size)
                equal(sent, self.call("echo", sent))
                return "the same text"

            self.steps.step(f"payload {size}", same)

        def wide():
            sent = nonce() + " h\u00e9 \u4e16\u754c \U0001f680"
            equal(sent, self.call("echo", sent))
            return "all widths of UTF-8"

        self.steps.step("text", wide)

    def styles(self):
        def plain():
            sent = nonce()
            body = StringValue(value=sent).SerializeToString()
            back = self.plain.invoke_sync(
                SERVICE, "echo", body, spanctx=SpanContext(), timeout_ms=5000
            )
            equal(sent, StringValue.FromString(back).value)
            return "the client without asyncio"

        def futures():
            sent = [nonce() for _ in range(50)]
            answers = [self.future("echo", s) for s in sent]
            for want, answer in zip(sent, answers):
                equal(want, StringValue.FromString(answer.result(10).content).value)
            return "50 at once"

        def callback():
            done = concurrent.futures.Future()
            sent = nonce()
            self.future("echo", sent, callback=done.set_result)
            equal(sent, StringValue.FromString(done.result(5)).value)
            return "value"

        def one_way():
            key = nonce()
            body = StringValue(value=key).SerializeToString()
            for _ in range(10):
                self.plain.invoke_oneway(SERVICE, "note", body, spanctx=SpanContext())
            deadline = time.monotonic() + 5
            while self.call("noted", key) != "10" and time.monotonic() < deadline:
                time.sleep(0.01)
            equal("10", self.call("noted", key))
            return "10 sent, 10 counted by the server"

        def overtaking():
            slow = self.future("slow", "700")
            sent = nonce()
            equal(sent, self.echo(sent))
            check(not slow.done(), "the slow answer first")
            equal("slept 700", StringValue.FromString(slow.result(5).content).value)
            return "the fast answer comes before the slow one"

        def together():
            def caller():
                for i in range(40):
                    sent = text(40 + i * 37 % 3000)
                    equal(sent, self.echo(sent))

            with concurrent.futures.ThreadPoolExecutor(20) as pool:
                for one in [pool.submit(caller) for _ in range(20)]:
                    one.result(60)
            return "800 answers, each the caller's own"

        self.steps.step("plain client", plain)
        self.steps.step("future", futures)
        self.steps.step("callback", callback)
        self.steps.step("one-way", one_way)
        self.steps.step("overtaking", overtaking)
        self.steps.step("concurrent", together)

    def errors_shown(self, server):
        def timeout():
            start = time.monotonic()
            try:
                self.call("slow", "700", 300)
            except (concurrent.futures.TimeoutError, KeyError) as e:
                # A KeyError where the server, or a proxy, is the first to say that time is up.
                name = type(e).__name__
            else:
                raise AssertionError("wanted a timeout")
            took = time.monotonic() - start
            check(0.28 <= took < 0.7, took)
            calls = 0
            while time.monotonic() < start + 1:
                sent = nonce()
                equal(sent, self.echo(sent))
                calls += 1
            return f"{name} after {took:.3f} s; {calls} right answers around the late one"

        self.steps.step("timeout", timeout)
        if server == "python":
            self.steps.step("exception", lambda: self.refused(lambda: self.call("fail", nonce())))
            self.steps.step("unknown service", lambda: self.refused(
                lambda: self.call("echo", nonce(), service="wiremesh.peers.Nobody:1.0")))
            self.steps.step("unknown method", lambda: self.refused(lambda: self.call("none", nonce())))
        elif server == "node":
            # Its error is of a class that anthunder does not know: again a KeyError, with no status.
            self.steps.step("exception", lambda: self.lost(lambda: self.call("fail", nonce())))
        else:
            # A Java server answers with status 0 and the text, which anthunder takes for the value.
            def shown():
                why = nonce()
                body = StringValue(value=why).SerializeToString()
                back = self.aio.invoke_sync(
                    SERVICE, "fail", body, spanctx=SpanContext(), timeout_ms=5000)
                check(why.encode() in back, back)
                return back

            self.steps.step("exception", shown)

    def lost(self, call):
        try:
            value = call()
        except KeyError:
            return "KeyError"
        raise AssertionError(f"wanted an error, saw {value!r}")

    def heartbeats(self):
        """The library cannot wait for the answer to its own heartbeat, so this reads the frame."""

        async def beat():
            reader, writer = await asyncio.open_connection(*self.address)
            for _ in range(4):
                probe = HeartbeatRequest.new_request()
                writer.write(probe.to_stream())
                head = await asyncio.wait_for(reader.readexactly(BoltResponse.bolt_header_size()), 5)
                ack = BoltResponse.bolt_header_from_stream(head)
                equal((0, 0, probe.request_id), (ack["ptype"], ack["cmdcode"], ack["request_id"]))
            writer.close()

        asyncio.run(beat())
        return "4 answered"

    def gone(self):
        def before():
            sent = nonce()
            equal(sent, self.echo(sent))
            return "answered"

        def after():
            ask("gone")
            first = self.refused(lambda: self.echo("anybody there?"))
            self.refused(lambda: self.echo("anybody there?"))
            return first

        self.steps.step("before", before)
        self.steps.step("gone", after)

    def restart(self):
        self.steps.step("restart", self.under_load)

    def under_load(self):
        lock = threading.Lock()
        count = {"sent": 0, "right": 0, "refused": 0}
        wrong = []
        stop = threading.Event()

        def bump(key):
            with lock:
                count[key] += 1

        def caller():
            while not stop.is_set():
                sent = text(100)
                bump("sent")
                try:
                    back = self.echo(sent)
                except KeyError:
                    bump("refused")
                    time.sleep(0.005)  # As a caller would: not at once again.
                except BaseException as e:
                    wrong.append(repr(e))
                else:
                    if back == sent:
                        bump("right")
                    else:
                        wrong.append(back)

        def until(wanted):
            deadline = time.monotonic() + 30
            while count["right"] < wanted and time.monotonic() < deadline:
                time.sleep(0.01)
            check(count["right"] >= wanted, count)

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            callers = [pool.submit(caller) for _ in range(16)]
            try:
                until(500)
                ask("restart")
                until(count["right"] + 500)
            finally:
                stop.set()
            for one in callers:
                one.result(15)
        check(not wrong, f"{len(wrong)} wrong, the first: {wrong[:1]}")
        equal(count["sent"], count["right"] + count["refused"])
        return f"{count['right']} right, 0 wrong, refused {count['refused']}"


def main():
    steps, address, version, server = sys.argv[1:]
    if version != "v1":
        sys.exit("anthunder speaks Bolt v1 only")
    host, port = address.rsplit(":", 1)
    peer = Peer((host, int(port)))
    sets = {"all": lambda: peer.all(server), "gone": peer.gone, "restart": peer.restart}
    sets[steps]()
    peer.steps.end()


if __name__ == "__main__":
    main()
