"""Logs in by several ways to the same server, and does no more than see how it came in."""

from steps import equal

# What the server has to say once somebody is in, so long that it takes several records of TLS.
SIZE = 100_000


class Ways:
    """Of `ways` each is `CLIENT-SERVER=HOST:PORT`: whether that leg has TLS (`TLS`) or not (`clear`). The last has it on both."""

    def __init__(self, client, ways):
        self.client = client
        self.ways = [way.split("=") for way in ways]

    def steps(self):
        for user, password in {**self.client.accounts(), "tlsonly": "tlspw"}.items():
            for way in self.ways:
                yield f"{user} {way[0]}", lambda who=(user, password), way=way: self.logins(way, *who)

    def logins(self, way, user, password):
        # Of caching_sha2_password the first is full authentication, the second the fast one.
        self.client.run(self.client.c, "flush privileges")
        seen = [self.enter(way, user, password) for _ in range(2)]
        if seen[-1] == "1045":
            self.enter(self.ways[-1], user, password)
            seen.append(self.enter(way, user, password))
        return ", ".join([*seen, self.enter(way, user, password + "x")])

    def enter(self, way, user, password):
        """Who it is, and whether the server sees TLS; or the number of the error."""
        client, (name, address) = self.client, way
        host, port = address.rsplit(":", 1)
        tls = client.ca if name.startswith("TLS") else None
        try:
            c = client.library.connect((host, int(port)), user, password, tls=tls)
        except client.error as e:
            return str(e.args[0])
        who = client.one(c, "select current_user()")
        ((_, cipher),) = client.all(c, "show status like 'Ssl_cipher'")
        equal(SIZE, len(client.one(c, f"select repeat('x', {SIZE})")))
        c.close()
        return f"{who} {'TLS' if cipher else 'clear'}"
