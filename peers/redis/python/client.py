"""client.py standalone|cluster|hidden HOST:PORT 2|3: redis-py, blocking and asyncio."""

import asyncio
import sys

from asynchronous import Asynchronous
from standalone import Standalone
from steps import Steps


async def asynchronous(steps, client):
    for name, body in await client.all():
        await steps.step_async(name, body)
    await client.r.aclose()


def main():
    kind, address, protocol = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    steps = Steps()
    if kind == "cluster":
        from cluster import Cluster, AsyncCluster

        for name, body in Cluster(host, int(port), int(protocol)).all():
            steps.step(name, body)
        asyncio.run(asynchronous(steps, AsyncCluster(host, int(port), int(protocol))))
    elif kind == "hidden":
        from hidden import Hidden

        for name, body in Hidden(host, int(port), int(protocol)).all():
            steps.step(name, body)
    else:
        for name, body in Standalone(host, int(port), int(protocol)).all():
            steps.step(name, body)
        asyncio.run(asynchronous(steps, Asynchronous(host, int(port), int(protocol))))
    return steps.finish()


if __name__ == "__main__":
    sys.exit(main())
