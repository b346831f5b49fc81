"""redis-py's asyncio clients against what looks like one server."""

import asyncio

import redis
import redis.asyncio

from steps import check, equal


class Asynchronous:
    def __init__(self, host, port, protocol):
        self.where = {"host": host, "port": port, "protocol": protocol, "socket_timeout": 10}
        self.r = redis.asyncio.Redis(**self.where, decode_responses=True, max_connections=400)

    async def all(self):
        await self.r.flushall()
        return [
            ("async basics", self.basics),
            ("async pipeline", self.pipeline),
            ("async transaction", self.transaction),
            ("async many at once", self.many),
            ("async pubsub", self.pubsub),
            ("async blocking", self.blocking),
            ("async scan", self.scan),
            ("async cancelled", self.cancelled),
        ]

    async def basics(self):
        r = self.r
        await r.set("a", 1)
        await r.hset("h", mapping={"x": 1, "y": 2})
        await r.zadd("z", {"a": 1.5})
        return await r.incr("a"), await r.hgetall("h"), await r.zrange("z", 0, -1, withscores=True)

    async def pipeline(self):
        async with self.r.pipeline(transaction=False) as p:
            for n in range(1000):
                p.set(f"ap{n}", n).get(f"ap{n}")
            answers = await p.execute()
        equal([str(n) for n in range(1000)], answers[1::2])
        return await self.r.delete(*(f"ap{n}" for n in range(1000)))

    async def transaction(self):
        async def add(p):
            value = int(await p.get("asum") or 0)
            p.multi()
            p.set("asum", value + 1)

        async def work():
            for _ in range(10):
                await self.r.transaction(add, "asum")

        await asyncio.gather(*(work() for _ in range(8)))
        return await self.r.get("asum")

    async def many(self):
        async def one(n):
            await self.r.set(f"am{n}", n)
            equal(str(n), await self.r.get(f"am{n}"))
            equal(f"e{n}", await self.r.echo(f"e{n}"))
            return 1

        done = await asyncio.gather(*(one(n) for n in range(300)))
        return sum(done), await self.r.delete(*(f"am{n}" for n in range(300)))

    async def pubsub(self):
        seen = []
        async with self.r.pubsub() as p:
            await p.subscribe("ach")
            await p.psubscribe("ac*")
            seen += [await self.message(p), await self.message(p)]
            equal(2, await self.r.publish("ach", "x"))
            seen += sorted([await self.message(p), await self.message(p)], key=lambda m: m["type"])
            await p.unsubscribe()
            seen.append(await self.message(p))
        return seen

    async def message(self, p):
        for _ in range(20):
            m = await p.get_message(timeout=0.5)
            if m is not None:
                return m
        raise AssertionError("no message came")

    async def blocking(self):
        waiting = [asyncio.create_task(self.r.blpop(f"ab{n}", 10)) for n in range(10)]
        for _ in range(500):
            if (await self.r.info("clients"))["blocked_clients"] == 10:
                break
            await asyncio.sleep(0.01)
        for n in range(10):
            await self.r.rpush(f"ab{n}", n)
        found = [list(await task) for task in waiting]
        equal([[f"ab{n}", str(n)] for n in range(10)], found)
        return await self.r.exists(*(f"ab{n}" for n in range(10)))

    async def scan(self):
        await self.r.mset({f"as{n}": n for n in range(500)})
        found = {key async for key in self.r.scan_iter(match="as*", count=50)}
        return len(found)

    async def cancelled(self):
        """Who gives up waiting leaves nothing behind for the next."""
        for n in range(5):
            task = asyncio.create_task(self.r.blpop("acancel", 5))
            await asyncio.sleep(0.02)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            equal(f"after{n}", await self.r.echo(f"after{n}"))
        for _ in range(500):
            if (await self.r.info("clients"))["blocked_clients"] == 0:
                break
            await asyncio.sleep(0.01)
        check((await self.r.info("clients"))["blocked_clients"] == 0)
        equal(1, await self.r.rpush("acancel", "x"))
        return await self.r.lpop("acancel")
