"""redis-py's clients of Redis Cluster, blocking and asyncio."""

import time

import redis
import redis.asyncio.cluster
from redis.cluster import RedisCluster

from standalone import BINARY, message, run_threads
from steps import check, equal, refused


class Cluster:
    def __init__(self, host, port, protocol):
        self.where = {"host": host, "port": port, "protocol": protocol, "socket_timeout": 10}
        self.r = RedisCluster(**self.where, decode_responses=True)

    def all(self):
        self.r.flushall(target_nodes=RedisCluster.PRIMARIES)
        return [
            ("topology", self.topology),
            ("keys everywhere", self.everywhere),
            ("types", self.types),
            ("binary", self.binary),
            ("split", self.split),
            ("pipeline", self.pipeline),
            ("transaction", self.transaction),
            ("scripts", self.scripts),
            ("blocking", self.blocking),
            ("pubsub", self.pubsub),
            ("sharded pubsub", self.sharded),
            ("scan", self.scan),
            ("errors", self.errors),
            ("replicas", self.replicas),
            ("threads", self.threads),
            ("all nodes", self.nodes),
        ]

    def topology(self):
        nodes = self.r.get_nodes()
        return len(self.r.get_primaries()), len(self.r.get_replicas()), len(nodes), self.r.keyslot("{a}b")

    def everywhere(self):
        for n in range(1000):
            check(self.r.set(f"key{n}", n))
        for n in range(1000):
            equal(str(n), self.r.get(f"key{n}"))
        return sum(self.r.delete(f"key{n}") for n in range(1000))

    def types(self):
        r = self.r
        r.hset("h", mapping={"a": 1, "b": 2})
        r.zadd("z", {"a": 1.5})
        r.rpush("l", 1, 2, 3)
        r.sadd("e", "x")
        return r.hgetall("h"), r.zrange("z", 0, -1, withscores=True), r.lrange("l", 0, -1), r.smembers("e")

    def binary(self):
        b = RedisCluster(**self.where)
        b.set(BINARY, BINARY)
        equal(BINARY, b.get(BINARY))
        b.close()
        return self.r.strlen(BINARY)

    def split(self):
        check(self.r.mset_nonatomic({f"m{n}": n for n in range(50)}))
        equal([str(n) for n in range(50)], self.r.mget_nonatomic(*(f"m{n}" for n in range(50))))
        keys = [f"m{n}" for n in range(60)]
        return self.r.exists(*keys), self.r.touch(*keys), self.r.delete(*keys[:25]), self.r.unlink(*keys)

    def pipeline(self):
        p = self.r.pipeline()
        for n in range(500):
            p.set(f"p{n}", n).get(f"p{n}")
        p.lpush("p0", 1)
        answers = p.execute(raise_on_error=False)
        equal([str(n) for n in range(500)], answers[1:1000:2])
        return str(answers[-1]).replace("Command #", "").split(" of ")[0][:60]

    def transaction(self):
        with self.r.pipeline(transaction=True) as p:
            p.set("{tx}a", 1)
            p.incr("{tx}a")
            p.hset("{tx}h", "f", "v")
            done = p.execute()
        self.r.set("{tx}w", 1)
        with self.r.pipeline(transaction=True) as p:
            p.watch("{tx}w")
            self.r.set("{tx}w", 2)
            p.multi()
            p.incr("{tx}w")
            refused(redis.WatchError, p.execute)
        return done, self.r.get("{tx}w")

    def scripts(self):
        script = "return {KEYS[1], ARGV[1]}"
        for n in range(50):
            equal([f"k{n}", str(n)], self.r.eval(script, 1, f"k{n}", n))
        sha = self.r.script_load("return redis.call('incr', KEYS[1])")
        for n in range(50):
            equal(1, self.r.evalsha(sha, 1, f"sc{n}"))
        return sha, self.r.script_exists(sha, "f" * 40)

    def blocking(self):
        self.r.rpush("{b}l", "x", "y")
        return self.r.blpop("{b}l", 1), self.r.blmove("{b}l", "{b}m", 1), self.r.brpop("{b}nobody", 0.1)

    def pubsub(self):
        p = self.r.pubsub()
        p.subscribe("ch1")
        seen = [message(p)]
        for n in range(50):
            self.r.publish("ch1", n)
        equal([str(n) for n in range(50)], [message(p)["data"] for _ in range(50)])
        p.unsubscribe()
        seen.append(message(p))
        p.close()
        return seen

    def sharded(self):
        p = self.r.pubsub()
        names = [f"sh{n}" for n in range(6)]
        for name in names:
            p.ssubscribe(name)
        # Who publishes does so on another connection, and must not be the first.
        confirmed = 0
        for _ in range(500):
            m = p.get_sharded_message(timeout=0.05)
            confirmed += m is not None and m["type"] == "ssubscribe"
            if confirmed == len(names):
                break
        equal(len(names), confirmed)
        got = []
        for name in names:
            equal(1, self.r.spublish(name, f"to {name}"))
        for _ in range(500):
            m = p.get_sharded_message(timeout=0.05)
            if m is not None and m["type"] == "smessage":
                got.append((m["channel"], m["data"]))
            if len(got) == len(names):
                break
        equal([(name, f"to {name}") for name in names], sorted(got))
        p.close()
        return len(got)

    def scan(self):
        keys = {f"scan:{n}" for n in range(1000)}
        for key in keys:
            self.r.set(key, "x")
        equal(keys, set(self.r.scan_iter(match="scan:*", count=50)))
        equal(keys, set(self.r.keys("scan:*", target_nodes=RedisCluster.PRIMARIES)))
        return sum(self.r.delete(key) for key in keys)

    def errors(self):
        self.r.set("str", "x")
        error = redis.ResponseError
        cross = refused(Exception, lambda: self.r.sunion("a", "b"))
        return [
            refused(error, lambda: self.r.lpush("str", 1), "WRONGTYPE"),
            refused(error, lambda: self.r.incr("str"), "not an integer"),
            cross,
        ]

    def replicas(self):
        own = RedisCluster(**self.where, decode_responses=True, read_from_replicas=True)
        for n in range(100):
            own.set(f"rep{n}", n)
        end = time.monotonic() + 5
        while [own.get(f"rep{n}") for n in range(100)] != [str(n) for n in range(100)]:
            check(time.monotonic() < end, "replicas are too far behind")
        own.close()
        return 100

    def threads(self):
        def work(count=[0]):
            count[0] += 1
            me = f"thread{count[0]}"
            for n in range(100):
                self.r.set(f"{me}:{n}", n)
                equal(str(n), self.r.get(f"{me}:{n}"))

        run_threads(10, work)
        return 10

    def nodes(self):
        pings = self.r.ping(target_nodes=RedisCluster.ALL_NODES)
        size = self.r.dbsize()
        self.r.flushall(target_nodes=RedisCluster.PRIMARIES)
        return pings, size > 0, self.r.dbsize()


class AsyncCluster:
    def __init__(self, host, port, protocol):
        self.where = {"host": host, "port": port, "protocol": protocol}
        self.r = redis.asyncio.cluster.RedisCluster(**self.where, decode_responses=True)

    async def all(self):
        return [("async many", self.many), ("async pipeline", self.pipeline)]

    async def many(self):
        # One after the other: with several at once redis-py 8.1.0 now and then uses a connection that
        # it has just closed ('NoneType' object has no attribute 'writelines'), also without a proxy.
        for n in range(500):
            await self.r.set(f"a{n}", n)
            equal(str(n), await self.r.get(f"a{n}"))
        return 500

    async def pipeline(self):
        p = self.r.pipeline()
        for n in range(200):
            p.set(f"ap{n}", n).get(f"ap{n}")
        answers = await p.execute()
        equal([str(n) for n in range(200)], answers[1::2])
        return len(answers)
