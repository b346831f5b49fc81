"""load.py HOST:PORT SECONDS [--lossy] [--errors N]: redis-py's cluster clients, each of which knows what it has written.

What they are told must be the last that they have written, whatever becomes of the nodes; and however often they learn the
cluster again, they must see the one node that they were given.
"""

import argparse
import random
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

KEYS = 200


class Key:
    """What a key can hold, as far as its only writer can know. Values are numbered; the next is always higher."""

    def __init__(self, lossy):
        self.sure, self.maybe, self.last, self.lossy = 0, set(), 0, lossy

    def next(self):
        self.last += 1
        return self.last

    def written(self, value, sure):
        if sure:
            self.sure = value
            self.maybe = {other for other in self.maybe if other > value}
        else:
            self.maybe.add(value)

    def read(self, value):
        if value == self.sure:
            return True
        if value in self.maybe or (self.lossy and value < self.sure):
            self.written(value, True)
            return True
        return False


class Client(threading.Thread):
    def __init__(self, number, host, port, end, lossy):
        super().__init__()
        self.rng = random.Random(number)
        self.name_of = f"t{number}:{random.randrange(1 << 40)}:"
        self.node, self.end, self.lossy = (host, port), end, lossy
        self.keys, self.wrong, self.errors = {}, [], {}
        self.answers, self.gap, self.right = 0, 0.0, time.monotonic()
        self.client = None

    def run(self):
        try:
            while time.monotonic() < self.end and len(self.wrong) < 5:
                self.rng.choice([self.one, self.one, self.many, self.pipeline])()
            self.look()
        except Exception as error:  # its own mistakes count as wrong
            self.wrong.append(f"{type(error).__name__}: {error}")

    def connection(self):
        if self.client is None:
            # Whatever is tried again is tried by the proxy: a client that repeats a write would hide what is lost.
            self.client = RedisCluster(
                startup_nodes=[ClusterNode(*self.node)],
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
                socket_timeout=15,
            )
        return self.client

    def ask(self, what):
        """The answer, or None for an error."""
        try:
            answer = what(self.connection())
        except (redis.RedisError, OSError) as error:
            text = f"{type(error).__name__}: {error}"[:60]
            self.errors[text] = self.errors.get(text, 0) + 1
            return None
        self.answers += 1
        now = time.monotonic()
        self.gap, self.right = max(self.gap, now - self.right), now
        return answer

    def key(self):
        return self.name_of + str(self.rng.randrange(KEYS))

    def of(self, key):
        return self.keys.setdefault(key, Key(self.lossy))

    def one(self):
        key = self.key()
        if self.rng.random() < 0.5:
            value = self.of(key).next()
            self.of(key).written(value, self.ask(lambda r: r.set(key, f"{key}={value}")) is True)
        else:
            answer = self.ask(lambda r: [r.get(key)])
            if answer is not None:
                self.has_read(key, answer[0])

    def many(self):
        """Commands that the proxy takes apart, since to the client one node has all slots."""
        keys = sorted({self.key() for _ in range(self.rng.randrange(2, 12))})
        values = {key: self.of(key).next() for key in keys}
        texts = {key: f"{key}={value}" for key, value in values.items()}
        sure = self.ask(lambda r: r.mset_nonatomic(texts)) is not None
        for key in keys:
            self.of(key).written(values[key], sure)
        answer = self.ask(lambda r: r.mget_nonatomic(keys))
        if answer is not None:
            if len(answer) != len(keys):
                self.wrong.append(f"MGET of {len(keys)} keys has {len(answer)} values")
            for key, text in zip(keys, answer):
                self.has_read(key, text)

    def pipeline(self):
        key, values = self.key(), []
        pipe = self.ask(lambda r: r.pipeline())
        if pipe is None:
            return
        for _ in range(5):
            values.append(self.of(key).next())
            pipe.set(key, f"{key}={values[-1]}")
            pipe.get(key)
        answers = self.ask(lambda r: pipe.execute(raise_on_error=False))
        for n, value in enumerate(values):
            wrote, read = answers[2 * n : 2 * n + 2] if answers else (None, None)
            self.of(key).written(value, wrote is True)
            if answers and not isinstance(read, Exception):
                self.has_read(key, read)

    def has_read(self, key, text):
        start, _, value = (text or f"{key}=0").rpartition("=")
        if start != key or not self.of(key).read(int(value)):
            known = self.of(key)
            self.wrong.append(f"{key}: {text} was read, {known.sure} was written, perhaps {known.maybe}")

    def look(self):
        """Where it is after all that."""
        nodes = self.ask(lambda r: [(node.host, node.port) for node in r.get_nodes()])
        if nodes is not None and nodes != [self.node]:
            self.wrong.append(f"it sees {nodes}")


def main():
    args = argparse.ArgumentParser()
    args.add_argument("address")
    args.add_argument("seconds", type=float)
    args.add_argument("--lossy", action="store_true")
    args.add_argument("--errors", type=int, default=20, help="of a thousand answers")
    args = args.parse_args()
    host, port = args.address.rsplit(":", 1)
    end = time.monotonic() + args.seconds
    clients = [Client(n, host, int(port), end, args.lossy) for n in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    answers, errors = sum(c.answers for c in clients), {}
    for client in clients:
        for text, count in client.errors.items():
            errors[text] = errors.get(text, 0) + count
    for text, count in sorted(errors.items()):
        print(f"{count} times {text}")
    wrong = [what for client in clients for what in client.wrong]
    for what in wrong[:20]:
        print(f"FAIL {what}")
    count = sum(errors.values())
    share = count * 1000 // max(answers, 1)
    if share > args.errors:
        print(f"FAIL {share} errors in a thousand answers, at most {args.errors}")
    good = not wrong and share <= args.errors and answers > 0
    gap = int(1000 * max(client.gap for client in clients))
    verdict = "PASS" if good else "FAILED"
    print(f"{verdict} {answers} answers, {count} errors, {len(wrong)} wrong, longest gap {gap} ms")
    raise SystemExit(0 if good else 1)


main()
