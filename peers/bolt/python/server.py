"""server.py PORT: anthunder's asyncio server on loopback, with the protobuf service."""

import logging
import sys
import threading
import time

from anthunder import AioListener, BaseService
from google.protobuf.wrappers_pb2 import StringValue

INTERFACE = "wiremesh.peers.ProtoHello"
NOTES = {}
LOCK = threading.Lock()


def text(method):
    """Makes a method from text to text one from message bytes to message bytes."""

    def with_bytes(self, body):
        return StringValue(value=method(self, StringValue.FromString(body).value)).SerializeToString()

    return with_bytes


class ProtoHello(BaseService):
    @text
    def echo(self, value):
        return value

    @text
    def fail(self, value):
        raise ValueError(value)

    @text
    def slow(self, value):
        time.sleep(int(value) / 1000)
        return "slept " + value

    @text
    def note(self, value):
        with LOCK:
            NOTES[value] = NOTES.get(value, 0) + 1
        return value

    @text
    def noted(self, value):
        with LOCK:
            return str(NOTES.get(value, 0))


def main():
    logging.disable(logging.CRITICAL)
    port = int(sys.argv[1])
    listener = AioListener(("127.0.0.1", port), "wiremesh-server")
    listener.handler.register_interface(INTERFACE + ":1.0", ProtoHello)
    listener.run_threading()
    deadline = time.monotonic() + 10
    while listener._server is None:
        if time.monotonic() > deadline:
            sys.exit("the listener does not start")
        time.sleep(0.01)
    print(f"ready 127.0.0.1:{port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
