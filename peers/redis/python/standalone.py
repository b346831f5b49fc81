"""Blocking redis-py against what looks like one server."""

import threading
import time

import redis

from steps import check, equal, refused

BINARY = bytes(range(256)) + b"\r\n$-1\r\n*3\r\n"


class Standalone:
    def __init__(self, host, port, protocol):
        self.where = {"host": host, "port": port, "protocol": protocol, "socket_timeout": 10}
        self.protocol = protocol
        self.r = redis.Redis(**self.where, decode_responses=True)
        self.b = redis.Redis(**self.where)

    def all(self):
        r = self.r
        r.flushall()
        return [
            ("ping", lambda: r.ping()),
            ("strings", self.strings),
            ("binary", self.binary),
            ("sizes", self.sizes),
            ("hashes", self.hashes),
            ("lists", self.lists),
            ("sets", self.sets),
            ("sorted sets", self.sorted_sets),
            ("streams", self.streams),
            ("geo, bits, hll", self.others),
            ("expiry", self.expiry),
            ("scan", self.scan),
            ("errors", self.errors),
            ("pipeline", self.pipeline),
            ("transaction", self.transaction),
            ("watch", self.watch),
            ("watch on many", self.contended),
            ("scripts", self.scripts),
            ("functions", self.functions),
            ("blocking", self.blocking),
            ("blocked and woken", self.woken),
            ("pubsub", self.pubsub),
            ("pubsub patterns", self.patterns),
            ("sharded pubsub", self.sharded),
            ("many subscribers", self.subscribers),
            ("databases", self.databases),
            ("client name", self.names),
            ("isolation", self.isolation),
            ("lock", self.lock),
            ("threads", self.threads),
            ("monitor", self.monitor),
            ("server", self.server),
        ]

    def strings(self):
        r = self.r
        check(r.set("s", "1", nx=True))
        equal(None, r.set("s", "2", nx=True))
        equal("1", r.set("s", "2", get=True))
        equal(3, r.incr("s"))
        equal(13.5, r.incrbyfloat("s", 10.5))
        equal(6, r.append("s", "xy"))
        equal(True, r.mset({"s1": "a", "s2": "b"}))
        equal(False, r.msetnx({"s2": "a", "s3": "b"}))
        equal("b", r.getdel("s2"))
        lcs = r.lcs("s", "s", len=True)
        return r.mget("s", "s1", "s2", "nobody"), r.getrange("s", 1, 3), r.strlen("s"), lcs

    def binary(self):
        b = self.b
        key = b"\x00{\xff}\r\n key"
        check(b.set(key, BINARY))
        equal(BINARY, b.get(key))
        b.hset(b"bin", mapping={BINARY: BINARY, b"": b""})
        equal({BINARY: BINARY, b"": b""}, b.hgetall(b"bin"))
        equal(BINARY, b.echo(BINARY))
        equal(b"", b.get(b"") or b"")
        return b.exists(key, b"bin", key)

    def sizes(self):
        seen = []
        for size in (0, 1, 511, 4096, 16383, 16384, 65535, 65536, 1 << 20, 16 << 20):
            value = (b"%d " % size) * (size // 4 + 1)
            value = value[:size]
            check(self.b.set("big", value))
            check(self.b.get("big") == value, size)
            seen.append(self.b.strlen("big"))
        many = {f"k{n}": "v" * (n % 97) for n in range(20_000)}
        self.r.hset("wide", mapping=many)
        check(self.r.hgetall("wide") == many)
        self.r.delete("big", "wide")
        return seen

    def hashes(self):
        r = self.r
        equal(2, r.hset("h", mapping={"a": 1, "b": 2}))
        equal(6, r.hincrby("h", "a", 5))
        equal(2.5, r.hincrbyfloat("h", "b", 0.5))
        equal({"a": "6", "b": "2.5"}, r.hgetall("h"))
        equal({"a", "b"}, set(r.hkeys("h")))
        equal(["6", None], r.hmget("h", "a", "z"))
        equal(1, r.hdel("h", "a", "z"))
        return r.hlen("h"), r.hexists("h", "a"), r.hrandfield("h", 5), r.hstrlen("h", "b")

    def lists(self):
        r = self.r
        equal(4, r.rpush("l", "a", "b", "c", "a"))
        equal([0, 3], r.lpos("l", "a", count=0))
        equal("a", r.lmove("l", "l2", "RIGHT", "LEFT"))
        equal(["l", ["a", "b"]], list(r.lmpop(2, "nobody", "l", direction="LEFT", count=2)))
        equal(2, r.linsert("l", "BEFORE", "c", "x"))
        equal(None, r.lpop("nobody"))
        return r.lrange("l", 0, -1), r.lrange("l2", 0, -1), r.lpop("l", 5), r.llen("l")

    def sets(self):
        r = self.r
        equal(3, r.sadd("e", "a", "b", "c"))
        equal(2, r.sadd("e2", "b", "z"))
        equal([1, 0], r.smismember("e", ["a", "z"]))
        equal({"b"}, set(r.sinter("e", "e2")))
        equal({"a", "b", "c", "z"}, set(r.sunion("e", "e2")))
        equal({"a", "c"}, set(r.sdiff("e", "e2")))
        equal(1, r.sintercard(2, ["e", "e2"]))
        equal(4, r.sunionstore("e3", "e", "e2"))
        return r.smembers("e3"), type(r.smembers("e3")).__name__, r.scard("e")

    def sorted_sets(self):
        r = self.r
        equal(3, r.zadd("z", {"a": 1, "b": 2.5, "c": float("inf")}))
        equal(2.5, r.zscore("z", "b"))
        equal(None, r.zscore("z", "x"))
        equal([1.0, None], r.zmscore("z", ["a", "x"]))
        equal(3.0, r.zincrby("z", 2, "a"))
        equal(2, r.zrank("z", "c"))
        top = r.zrange("z", 0, -1, desc=True, withscores=True)
        pop = r.zpopmin("z")
        return top, pop, r.zrangebyscore("z", "-inf", 3), r.zunion(["z", "z"], withscores=True)

    def streams(self):
        r = self.r
        equal("1-1", r.xadd("x", {"a": 1}, id="1-1"))
        equal("1-2", r.xadd("x", {"b": 2}, id="1-2"))
        check(r.xgroup_create("x", "g", 0))
        got = r.xreadgroup("g", "c", {"x": ">"}, count=1)
        equal(1, r.xack("x", "g", "1-1"))
        r.xreadgroup("g", "c", {"x": ">"})
        claimed = r.xautoclaim("x", "g", "d", 0)
        info = r.xinfo_stream("x")
        pending = r.xpending("x", "g")
        read = r.xread({"x": "0"})
        return got, claimed, info["length"], pending, read, r.xrange("x")

    def others(self):
        r = self.r
        r.geoadd("g", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania"))
        near = r.geosearch("g", longitude=15, latitude=37, radius=200, unit="km", withdist=True, sort="ASC")
        r.setbit("b", 7, 1)
        field = r.bitfield("b").set("u8", 0, 3).incrby("u8", 0, 5).execute()
        r.pfadd("y", *range(1000))
        return near, r.geopos("g", "Palermo", "x"), field, r.bitcount("b"), r.pfcount("y"), r.geohash("g", "Catania")

    def expiry(self):
        r = self.r
        r.set("t", "x", ex=1000)
        check(990 <= r.ttl("t") <= 1000)
        r.set("t2", "x", px=30)
        end = time.monotonic() + 5
        while r.exists("t2") and time.monotonic() < end:
            time.sleep(0.01)
        equal(None, r.get("t2"))
        equal(1, r.persist("t"))
        r.expireat("t", 4000000000)
        return r.expiretime("t"), r.ttl("nobody"), r.object("encoding", "t")

    def scan(self):
        r = self.r
        keys = {f"scan:{n}" for n in range(3000)}
        r.mset({key: "x" for key in keys})
        equal(keys, set(r.scan_iter(match="scan:*", count=77)))
        r.sadd("many", *range(2000))
        equal(2000, len(set(r.sscan_iter("many", count=100))))
        r.hset("manyh", mapping={n: n for n in range(1000)})
        equal(1000, len(dict(r.hscan_iter("manyh"))))
        r.zadd("manyz", {n: n for n in range(1000)})
        equal(1000, len(dict(r.zscan_iter("manyz"))))
        equal(3000, len(r.keys("scan:*")))
        return r.delete(*keys, "many", "manyh", "manyz")

    def errors(self):
        r = self.r
        r.set("str", "x")
        error = redis.ResponseError
        return [
            refused(error, lambda: r.lpush("str", 1), "WRONGTYPE"),
            refused(error, lambda: r.incr("str"), "not an integer"),
            refused(error, lambda: r.execute_command("NONSENSE", "a"), "unknown command"),
            refused(error, lambda: r.execute_command("GET"), "wrong number"),
            refused(error, lambda: r.execute_command("SET", "a", "b", "EX", "x"), "not an integer"),
            refused(error, lambda: r.execute_command("XADD", "x", "1-1", "a", "b"), "ID"),
            refused(redis.exceptions.NoScriptError, lambda: r.evalsha("f" * 40, 0), "No matching script"),
            refused(error, lambda: r.execute_command("OBJECT", "NOPE"), "unknown subcommand"),
            refused(error, lambda: r.execute_command("DEBUG", "SLEEP", "0")),
            refused(redis.AuthenticationError, lambda: r.execute_command("AUTH", "x")),
        ]

    def pipeline(self):
        p = self.r.pipeline(transaction=False)
        for n in range(3000):
            p.set(f"p{n % 50}", n)
            p.get(f"p{n % 50}")
            if n % 500 == 0:
                p.lpush("p0", 1)
        answers = p.execute(raise_on_error=False)
        equal(6006, len(answers))
        equal(6, sum(isinstance(a, redis.ResponseError) for a in answers))
        gets = [a for a in answers if isinstance(a, str)]
        equal([str(n) for n in range(3000)], gets)
        return self.r.delete(*(f"p{n}" for n in range(50)))

    def transaction(self):
        r = self.r
        p = r.pipeline()
        p.set("tx", 1).incr("tx").get("tx").hset("txh", "a", "b").hgetall("txh").lpush("tx", 1)
        answers = p.execute(raise_on_error=False)
        error = refused(redis.ResponseError, lambda: r.pipeline().get("tx").lpush("tx", 1).execute())
        p = r.pipeline()
        p.execute_command("NONSENSE")
        p.set("tx", "never")
        abort = refused(redis.ResponseError, p.execute)
        equal("2", r.get("tx"))
        return [str(a) for a in answers], error, abort

    def watch(self):
        r = self.r
        r.set("w", 1)
        with r.pipeline() as p:
            p.watch("w")
            equal("1", p.get("w"))
            r.set("w", 5)
            p.multi()
            p.incr("w")
            refused(redis.WatchError, p.execute)
        with r.pipeline() as p:
            p.watch("w", "w2")
            value = int(p.get("w"))
            p.multi()
            p.set("w", value + 1)
            equal([True], p.execute())
        with r.pipeline() as p:
            p.watch("w")
            p.unwatch()
            r.incr("w")
            p.multi()
            p.get("w")
            return p.execute()

    def contended(self):
        """Many clients add to one number; nobody's addition may get lost."""
        self.r.set("sum", 0)

        def add(p):
            value = int(p.get("sum"))
            p.multi()
            p.set("sum", value + 1)

        def work():
            for _ in range(25):
                self.r.transaction(add, "sum")

        run_threads(8, work)
        return self.r.get("sum")

    def scripts(self):
        r = self.r
        script = r.register_script("return {KEYS[1], ARGV[1], redis.call('incrby', KEYS[1], ARGV[1])}")
        equal(["sc", "5", 5], script(keys=["sc"], args=[5]))
        equal(["sc", "5", 10], script(keys=["sc"], args=[5]))
        equal([True, False], r.script_exists(script.sha, "f" * 40))
        equal(True, r.script_flush())
        equal(["sc", "1", 11], script(keys=["sc"], args=[1]))
        error = refused(redis.ResponseError, lambda: r.eval("return redis.call('nope')", 0))
        with r.pipeline() as p:
            script(keys=["sc"], args=[1], client=p)
            piped = p.execute()
        table = r.eval("return {1, 2.7, 'x', {3, {}}, false, true, nil, 4}", 0)
        return error, piped, table, r.eval_ro("return redis.call('get', KEYS[1])", 1, "sc")

    def functions(self):
        r = self.r
        code = "#!lua name=mylib\nredis.register_function('both', function(k, a) return {k[1], a[1]} end)"
        equal("mylib", r.function_load(code, replace=True))
        equal(["k", "a"], r.fcall("both", 1, "k", "a"))
        listed = r.function_list(library="mylib", withcode=True)
        check("both" in str(listed), listed)
        dump = self.b.function_dump()
        r.function_delete("mylib")
        error = refused(redis.ResponseError, lambda: r.fcall("both", 1, "k", "a"))
        self.b.function_restore(dump)
        equal(["k", "a"], r.fcall("both", 1, "k", "a"))
        return error, r.function_flush()

    def blocking(self):
        r = self.r
        r.rpush("bl", "a", "b", "c")
        seen = [r.blpop(["nobody", "bl"], 1), r.brpop("bl", 1), r.blmove("bl", "bl2", 1)]
        start = time.monotonic()
        seen += [r.blpop("nobody", 0.2), r.bzpopmin("nobody", 0.1), r.xread({"nobody": 0}, block=50)]
        check(time.monotonic() - start > 0.3)
        r.zadd("bz", {"a": 1, "b": 2})
        seen += [r.bzpopmax("bz", 1), r.bzmpop(1, 1, ["bz"], min=True), r.wait(0, 10), r.ping()]
        return seen

    def woken(self):
        """Nobody waits for anybody else: blocked clients do not hold up the others."""
        found = {}

        def wait(n):
            own = redis.Redis(**self.where, decode_responses=True)
            found[n] = own.blpop(f"wake{n}", 10)
            own.close()

        threads = [threading.Thread(target=wait, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 5
        while self.r.info("clients")["blocked_clients"] < 20 and time.monotonic() < end:
            time.sleep(0.005)
        equal(20, self.r.info("clients")["blocked_clients"])
        for n in range(19, -1, -1):
            equal(1, self.r.rpush(f"wake{n}", n))
        for thread in threads:
            thread.join()
        equal({n: (f"wake{n}", str(n)) for n in range(20)}, {n: tuple(v) for n, v in found.items()})
        return self.r.exists(*(f"wake{n}" for n in range(20)))

    def pubsub(self):
        p = self.r.pubsub()
        p.subscribe("ch1", "ch2")
        seen = [message(p), message(p)]
        equal(1, self.r.publish("ch1", "hello"))
        seen.append(message(p))
        p.ping("are you there")
        seen.append(message(p))
        p.unsubscribe("ch1")
        seen.append(message(p))
        equal(0, self.r.publish("ch1", "nobody"))
        equal(1, self.r.publish("ch2", "x" * 100_000))
        seen.append(len(message(p)["data"]))
        numsub = self.r.pubsub_numsub("ch1", "ch2")
        p.unsubscribe()
        seen.append(message(p))
        p.subscribe("ch3")
        seen.append(message(p))
        p.close()
        return seen, numsub

    def patterns(self):
        p = self.r.pubsub()
        p.psubscribe("pat*")
        p.subscribe("pat1")
        seen = [message(p), message(p)]
        equal(2, self.r.publish("pat1", "both"))
        seen += sorted((message(p), message(p)), key=lambda m: m["type"])
        equal(1, self.r.pubsub_numpat())
        p.punsubscribe()
        seen.append(message(p))
        p.close()
        return seen

    def sharded(self):
        p = self.r.pubsub()
        p.ssubscribe("sh")
        seen = [message(p)]
        equal(1, self.r.spublish("sh", "x"))
        seen.append(message(p))
        p.sunsubscribe("sh")
        seen.append(message(p))
        p.close()
        return seen

    def subscribers(self):
        """Everybody gets all messages, in order."""
        subscribers = [self.r.pubsub() for _ in range(20)]
        for n, p in enumerate(subscribers):
            p.subscribe("all", f"own{n}")
            message(p)
            message(p)
        for n in range(50):
            equal(20, self.r.publish("all", n))
        for n in range(20):
            equal(1, self.r.publish(f"own{n}", n))
        for n, p in enumerate(subscribers):
            equal([str(m) for m in range(50)], [message(p)["data"] for _ in range(50)])
            equal((f"own{n}", str(n)), (lambda m: (m["channel"], m["data"]))(message(p)))
            p.close()
        end = time.monotonic() + 5
        while self.r.pubsub_numsub("all")[0][1] and time.monotonic() < end:
            time.sleep(0.01)
        return self.r.pubsub_numsub("all")

    def databases(self):
        three = redis.Redis(**self.where, db=3, decode_responses=True)
        self.r.set("where", "zero")
        three.set("where", "three")
        equal("zero", self.r.get("where"))
        equal("three", three.get("where"))
        moved = redis.Redis(**self.where, db=5, decode_responses=True)
        moved.set("m", "x")
        check(moved.move("m", 3))
        equal("x", three.get("m"))
        with three.pipeline() as p:
            p.watch("where")
            p.multi()
            p.get("where")
            equal(["three"], p.execute())
        three.rpush("q", "in three")
        equal(("q", "in three"), tuple(three.blpop("q", 1)))
        equal("zero", self.r.get("where"))
        sizes = three.dbsize(), moved.dbsize()
        bad = redis.Redis(**self.where, db=99)
        error = refused(redis.ResponseError, bad.ping, "out of range")
        three.flushdb()
        return sizes, error, self.r.get("where"), three.dbsize()

    def names(self):
        named = redis.Redis(**self.where, client_name="me", single_connection_client=True)
        plain = redis.Redis(**self.where, single_connection_client=True)
        equal("me", named.client_getname() if isinstance(named.client_getname(), str) else named.client_getname().decode())
        equal(None, plain.client_getname() or None)
        named.client_setname("other")
        info = named.client_info()
        ids = {named.client_id(), plain.client_id()}
        equal(2, len(ids))
        named.close()
        plain.close()
        return info["name"], info["db"], info["user"], str(info.get("resp"))

    def isolation(self):
        """What one connection does to itself, the others do not see."""
        one = redis.Redis(**self.where, single_connection_client=True, decode_responses=True)
        other = redis.Redis(**self.where, single_connection_client=True, decode_responses=True)
        one.execute_command("SELECT", 7)
        one.set("iso", "seven")
        equal(None, other.get("iso"))
        one.execute_command("MULTI")
        equal("QUEUED", one.execute_command("GET", "iso"))
        equal(None, other.get("iso"))
        equal(["seven"], one.execute_command("EXEC"))
        one.execute_command("CLIENT", "SETNAME", "one")
        equal(None, other.client_getname() or None)
        one.execute_command("CLIENT", "NO-EVICT", "ON")
        one.execute_command("MULTI")
        one.close()
        equal(None, other.get("iso"))
        other.execute_command("SELECT", 7)
        equal("seven", other.get("iso"))
        other.delete("iso")
        other.close()
        return True

    def lock(self):
        holder = self.r.lock("lock", timeout=10)
        check(holder.acquire())
        other = self.r.lock("lock", timeout=10)
        check(not other.acquire(blocking=False))
        holder.release()
        check(other.acquire(blocking=False))
        other.release()
        return self.r.exists("lock")

    def threads(self):
        """Answers go to who asked."""

        def work(n=[0]):
            n[0] += 1
            me = f"thread{n[0]}"
            for i in range(150):
                equal(f"{me}:{i}", self.r.echo(f"{me}:{i}"))
                self.r.set(me, i)
                equal(str(i), self.r.get(me))

        run_threads(30, work)
        return self.r.delete(*(f"thread{n}" for n in range(1, 31)))

    def monitor(self):
        seen = []
        with self.r.monitor() as m:
            for n in range(3):
                self.r.set("mon", n)
            while len(seen) < 3:
                command = m.next_command()["command"]
                if command.upper().startswith("SET MON"):
                    seen.append(command)
        return seen

    def server(self):
        r = self.r
        info = r.info()
        r.config_set("hash-max-listpack-entries", 100)
        equal({"hash-max-listpack-entries": "100"}, r.config_get("hash-max-listpack-entries"))
        r.config_set("hash-max-listpack-entries", 128)
        users = r.acl_users()
        check(r.command_count() > 200)
        check("get" in {str(c).lower() for c in r.command()})
        role = r.role()[0]
        check(abs(r.time()[0] - time.time()) < 60)
        size = r.dbsize()
        r.flushall()
        return info["redis_version"], users, role, size > 0, r.dbsize(), r.acl_whoami(), r.lastsave() is not None


def message(p):
    """The next one of any kind."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        m = p.get_message(timeout=0.5)
        if m is not None:
            return m
    raise AssertionError("no message came")


def run_threads(count, work):
    errors = []

    def body():
        try:
            work()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=body) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
