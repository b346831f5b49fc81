"""login.py HOST:PORT CA: logs in at a server that knows logins and nothing else, by every library."""

import sys

from client import Mysqlclient, PyMySQL
from steps import Steps, equal

ACCOUNTS = {"nat": "natpw", "sha2": "sha2pw", "digest": "digestpw", "ed": "edpw", "nopw": ""}


def logins(library, address, ca):
    name = type(library).__name__
    for user, password in ACCOUNTS.items():
        # mysqlclient's wheel has no file for this plugin.
        if user == "ed" and not library.ed25519:
            continue
        for channel, tls in {"open": None, "TLS": ca}.items():
            yield f"{name} {user} {channel}", lambda u=user, p=password, t=tls: let_in(library, address, u, p, t)
            wrong = password + "x"
            yield f"{name} {user} {channel} refused", lambda u=user, p=wrong, t=tls: refused(library, address, u, p, t)
    yield f"{name} nobody", lambda: refused(library, address, "there-is-none", "secret", ca)
    if isinstance(library, Mysqlclient):
        yield f"{name} change user", lambda: change(library, address, ca)


def let_in(library, address, user, password, tls):
    connection = library.connect(address, user, password, tls=tls)
    connection.ping()
    connection.close()
    return "in"


def refused(library, address, user, password, tls):
    try:
        library.connect(address, user, password, tls=tls)
    except library.module.Error as e:
        equal(1045, e.args[0])
        return e.args[0]
    raise AssertionError("it is let in")


def change(library, address, ca):
    connection = library.connect(address, "nat", "natpw", tls=ca)
    for user in "sha2", "nopw", "digest", "nat":
        connection.change_user(user, ACCOUNTS[user], "test")
        connection.ping()
    try:
        connection.change_user("nat", "wrong", "test")
    except library.module.Error as e:
        equal(1045, e.args[0])
        return e.args[0]
    raise AssertionError("it is let in")


def main():
    address, ca = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    steps = Steps()
    for library in PyMySQL(), Mysqlclient():
        for name, body in logins(library, (host, int(port)), ca):
            steps.step(name, body)
    return steps.finish()


if __name__ == "__main__":
    sys.exit(main())
