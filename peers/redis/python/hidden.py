"""Blocking redis-py, which knows no clusters, against a cluster that looks like one server."""

import time

import redis

from standalone import BINARY, message, run_threads
from steps import check, equal, refused

# Each of another slot, over all shards.
MANY = [f"k{n}" for n in range(100)]


class Hidden:
    def __init__(self, host, port, protocol):
        self.where = {"host": host, "port": port, "protocol": protocol, "socket_timeout": 10}
        self.r = redis.Redis(**self.where, decode_responses=True)

    def all(self):
        self.r.flushall()
        return [
            ("split", self.split),
            ("order", self.order),
            ("all shards", self.everywhere),
            ("scan", self.scan),
            ("refused, not answered in part", self.crossing),
            ("transaction", self.transaction),
            ("transaction over slots", self.crossing_transaction),
            ("watch", self.watch),
            ("scripts", self.scripts),
            ("functions", self.functions),
            ("blocking", self.blocking),
            ("pubsub", self.pubsub),
            ("sharded pubsub", self.sharded),
            ("binary", self.binary),
            ("errors", self.errors),
            ("threads", self.threads),
            ("names", self.names),
        ]

    def split(self):
        r = self.r
        check(r.mset({key: key for key in MANY}))
        equal(MANY + [None], r.mget(*MANY, "nobody"))
        equal(MANY[::-1], r.mget(*MANY[::-1]))
        equal([MANY[0]] * 3, r.mget(MANY[0], MANY[0], MANY[0]))
        counts = r.exists(*MANY, "nobody", MANY[0]), r.touch(*MANY), r.dbsize()
        return counts, r.delete(*MANY[:50], "nobody"), r.unlink(*MANY), r.dbsize()

    def order(self):
        """A client's commands take effect in its order, split or not."""
        for n in range(100):
            p = self.r.pipeline(transaction=False)
            p.mset({key: n for key in MANY[:10]}).mget(MANY[:10]).delete(*MANY[:10]).mget(MANY[:10])
            p.set("k3", "x").get("k3").rpush("l", n).lpop("l")
            equal([True, [str(n)] * 10, 10, [None] * 10, True, "x", 1, str(n)], p.execute())
        return self.r.delete("k3")

    def everywhere(self):
        r = self.r
        r.mset({key: "x" for key in MANY})
        equal(set(MANY), set(r.keys("*")))
        check(r.randomkey() in MANY)
        size = r.dbsize()
        r.flushdb()
        return size, r.dbsize(), r.keys("*"), r.ping(), r.echo("x")

    def scan(self):
        keys = {f"scan:{n}" for n in range(2000)}
        self.r.mset({key: "x" for key in keys})
        found = list(self.r.scan_iter(match="scan:*", count=100))
        equal(keys, set(found))
        return len(found) - len(keys), self.r.flushall()

    def crossing(self):
        r = self.r
        r.sadd("a", 1)
        r.sadd("b", 2)
        cross = "Keys in request don't hash to the same slot"
        seen = [
            refused(redis.ResponseError, call, cross)
            for call in (
                lambda: r.sunion("a", "b"),
                lambda: r.rename("a", "b"),
                lambda: r.msetnx({"x": 1, "y": 2}),
                lambda: r.sinterstore("c", "a", "b"),
                lambda: r.bitop("AND", "c", "x", "y"),
                lambda: r.pfmerge("x", "y"),
                lambda: r.eval("return 1", 2, "a", "b"),
                lambda: r.blpop(["a", "b"], 1),
                lambda: r.smove("a", "b", 1),
            )
        ]
        equal([None, None], r.mget("x", "y"))
        return len(seen), r.sunion("{t}a", "{t}b"), r.delete("a", "b")

    def transaction(self):
        p = self.r.pipeline()
        p.set("{tx}a", 1).incr("{tx}a").hset("{tx}h", "f", "v").hgetall("{tx}h")
        done = p.execute()
        p = self.r.pipeline()
        p.set("{tx}a", 1).lpush("{tx}a", 1)
        error = refused(redis.ResponseError, p.execute)
        return done, error, self.r.get("{tx}a")

    def crossing_transaction(self):
        p = self.r.pipeline()
        for key in MANY[:5]:
            p.set(key, "never")
        refused(redis.ResponseError, p.execute)
        equal([None] * 5, self.r.mget(MANY[:5]))
        return self.r.exists(*MANY)

    def watch(self):
        r = self.r
        r.set("sum", 0)

        def add(p):
            value = int(p.get("sum"))
            p.multi()
            p.set("sum", value + 1)

        def work():
            for _ in range(20):
                r.transaction(add, "sum")

        run_threads(6, work)
        return r.get("sum")

    def scripts(self):
        r = self.r
        sha = r.script_load("return redis.call('incrby', KEYS[1], ARGV[1])")
        for key in MANY:
            equal(7, r.evalsha(sha, 1, f"s{key}", 7))
        equal([True, False], r.script_exists(sha, "f" * 40))
        r.script_flush()
        equal([False], r.script_exists(sha))
        return r.delete(*(f"s{key}" for key in MANY))

    def functions(self):
        r = self.r
        r.function_load("#!lua name=hid\nredis.register_function('hid', function(k, a) return a[1] end)", replace=True)
        equal([str(n) for n in range(100)], [r.fcall("hid", 1, key, n) for n, key in enumerate(MANY)])
        return r.function_delete("hid")

    def blocking(self):
        r = self.r
        r.rpush("bl", "x")
        seen = [r.blpop("bl", 1), r.blpop("nobody", 0.1)]
        found = []

        def wait(n=[0]):
            n[0] += 1
            me = n[0]
            own = redis.Redis(**self.where, decode_responses=True)
            found.append(own.blpop(f"w{me}", 10))
            own.close()

        def wake():
            for n in range(1, 11):
                r.rpush(f"w{n}", n)

        wake()
        run_threads(10, wait)
        equal({(f"w{n}", str(n)) for n in range(1, 11)}, {tuple(pair) for pair in found})
        return seen

    def pubsub(self):
        subscribers = [self.r.pubsub() for _ in range(6)]
        for p in subscribers:
            p.subscribe("ch")
            message(p)
        for n in range(30):
            self.r.publish("ch", n)
        for p in subscribers:
            equal(sorted(range(30)), sorted(int(message(p)["data"]) for _ in range(30)))
            p.close()
        return len(subscribers)

    def sharded(self):
        got = []
        for key in MANY[:6]:
            p = self.r.pubsub()
            p.ssubscribe(key)
            message(p)
            equal(1, self.r.spublish(key, f"to {key}"))
            got.append(message(p)["data"])
            p.close()
        return got

    def binary(self):
        b = redis.Redis(**self.where)
        keys = {bytes([n]) + BINARY: bytes([n]) * 50_000 for n in range(40)}
        check(b.mset(keys))
        equal(list(keys.values()), b.mget(list(keys)))
        return b.delete(*keys)

    def errors(self):
        r = self.r
        r.set("str", "x")
        error = redis.ResponseError
        select = refused(error, redis.Redis(**self.where, db=1).ping)
        p = r.pipeline(transaction=False)
        p.mget("str", "a").lpush("str", 1).mset({"a": 1, "b": 2}).incr("str").mget("a", "b")
        mixed = [str(a) if isinstance(a, error) else a for a in p.execute(raise_on_error=False)]
        r.delete("str", "a", "b")
        return [
            refused(error, lambda: r.execute_command("NONSENSE"), "unknown command"),
            refused(error, lambda: r.execute_command("MGET"), "wrong number"),
            refused(error, lambda: r.execute_command("MSET", "a"), "wrong number"),
            select,
            mixed,
        ]

    def threads(self):
        def work(count=[0]):
            count[0] += 1
            me = f"thread{count[0]}:"
            for n in range(100):
                pairs = {f"{me}{m}": n for m in range(10)}
                self.r.mset(pairs)
                equal([str(n)] * 10, self.r.mget(list(pairs)))
                equal(f"{me}{n}", self.r.echo(f"{me}{n}"))

        run_threads(10, work)
        return self.r.dbsize(), self.r.flushall()

    def names(self):
        named = redis.Redis(**self.where, client_name="me", single_connection_client=True, decode_responses=True)
        seen = named.client_getname(), self.r.client_getname()
        for key in MANY:
            named.get(key)
        named.close()
        end = time.monotonic() + 5
        while self.r.dbsize() and time.monotonic() < end:
            time.sleep(0.01)
        return seen
