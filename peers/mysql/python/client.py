"""client.py pymysql|mysqlclient|wire HOST:PORT SERVER CA: the steps of a library, all answers checked.

client.py pymysql|mysqlclient HOST:PORT SERVER CA CLIENT-SERVER=HOST:PORT...: its logins by these ways, and no more.
client.py pymysql|mysqlclient HOST:PORT SERVER CA converse USER PASSWORD: one short connection, to be recorded.
"""

import os
import socket
import sys
import tempfile
import threading

from conversation import Conversation
from steps import Steps, check, equal, until
from ways import Ways


class PyMySQL:
    ed25519 = True

    def __init__(self):
        import pymysql
        import pymysql.cursors

        self.module = pymysql
        self.streaming = pymysql.cursors.SSCursor

    def connect(self, address, user, password, database="test", tls=None, **more):
        more.setdefault("ssl_disabled", not tls)
        if tls:
            # The server's own name is none of the machine's.
            more["ssl"] = {"ca": tls, "check_hostname": False}
            more.pop("ssl_disabled")
        host, port = address
        from pymysql.constants import CLIENT

        return self.module.connect(
            host=host, port=port, user=user, password=password, database=database, local_infile=True,
            charset="utf8mb4", client_flag=CLIENT.MULTI_STATEMENTS, max_allowed_packet=1 << 27, **more,
        )

    def drop(self, connection):
        """The connection ends without a word."""
        connection._sock.shutdown(socket.SHUT_RDWR)
        connection._force_close()

    def ping(self, connection):
        return connection.ping(reconnect=False)

    def own(self, connection, user, password):
        return connection.show_warnings()


class Mysqlclient:
    ed25519 = False

    def __init__(self):
        import MySQLdb
        import MySQLdb.cursors

        self.module = MySQLdb
        self.streaming = MySQLdb.cursors.SSCursor

    def connect(self, address, user, password, database="test", tls=None, **more):
        if tls:
            more["ssl"] = {"ca": tls}
            more["ssl_mode"] = "VERIFY_CA"
        else:
            more["ssl_mode"] = "DISABLED"
        host, port = address
        return self.module.connect(
            host=host, port=port, user=user, passwd=password, db=database, local_infile=1, charset="utf8mb4", **more,
        )

    def drop(self, connection):
        with socket.socket(fileno=os.dup(connection.fileno())) as ours:
            ours.shutdown(socket.SHUT_RDWR)

    def ping(self, connection):
        return connection.ping()

    def own(self, connection, user, password):
        check(connection.stat().startswith("Uptime"))
        connection.change_user(user, password, "test")


class Client:
    """Steps that every library of the DB-API can do."""

    def __init__(self, library, address, server, ca):
        self.library, self.address, self.server, self.ca = library, address, server, ca
        self.error = library.module.Error
        self.c = self.open()

    def open(self, user="nat", password="natpw", **more):
        return self.library.connect(self.address, user, password, **more)

    def all(self, connection, statement, args=None, cursor=None):
        with connection.cursor(cursor) as cursor:
            cursor.execute(statement, args)
            return cursor.fetchall()

    def one(self, connection, statement, args=None):
        ((value, *_), *_) = self.all(connection, statement, args)
        return value

    def run(self, connection, statement, args=None):
        with connection.cursor() as cursor:
            return cursor.execute(statement, args)

    def refused(self, code, call, *args, **more):
        try:
            seen = call(*args, **more)
        except self.error as e:
            equal(code, e.args[0])
            return f"{e.args[0]} {e.args[1]}"
        raise AssertionError(f"wanted error {code}, saw {seen!r}")

    # Logging in.

    def accounts(self):
        known = {"nat": "natpw", "nopw": ""}
        if self.server == "mysql8":
            known.update(sha2="sha2pw", s256="s256pw")
        # mysqlclient's wheel has no file for this plugin.
        if self.server == "mariadb10" and self.library.ed25519:
            known.update(ed="edpw")
        return known

    def auth(self, user, password):
        def body():
            # Of caching_sha2_password the first is full authentication, the second the fast one.
            self.run(self.c, "flush privileges")
            seen = []
            for _ in range(2):
                c = self.open(user, password)
                seen.append(self.one(c, "select current_user()"))
                c.close()
            return seen

        return body

    def wrong_password(self):
        return self.refused(1045, self.open, password="wrong")

    def unknown_user(self):
        return self.refused(1045, self.open, user="nobody")

    def unknown_schema(self):
        return self.refused(1049, self.open, database="wm_missing")

    def tls_needed(self):
        return self.refused(1045, self.open, user="tlsonly", password="tlspw")

    def tls(self):
        seen = []
        for user, password in (("nat", "natpw"), ("tlsonly", "tlspw")):
            c = self.open(user, password, tls=self.ca)
            ((_, cipher),) = self.all(c, "show status like 'Ssl_cipher'")
            check(cipher, "no cipher")
            seen.append((cipher, len(self.one(c, "select repeat('x', 1000000)"))))
            c.close()
        return seen

    # Statements.

    def types(self):
        return self.all(
            self.c,
            "select 1, -9223372036854775808, 18446744073709551615, 1.5, cast(1.25 as decimal(10,3)), 'text', null,"
            " x'00ff', cast('2026-11-21 20:15:00.000001' as datetime(6)), cast('2026-11-21' as date),"
            " cast('-12:30:00' as time), true",
        )

    def charset(self):
        s = "aé漢😀"
        equal(s, self.one(self.c, "select %s", (s,)))
        return s

    def description(self):
        with self.c.cursor() as cursor:
            cursor.execute("select 1 as one, 'x' as x, null as n")
            return [column[:2] for column in cursor.description]

    def multi(self):
        with self.c.cursor() as cursor:
            cursor.execute(
                "select 1; drop table if exists py_m; create table py_m(a int primary key auto_increment, b varchar(20));"
                "insert into py_m(b) values ('x'), ('y'); select b from py_m order by a; select 7"
            )
            seen = []
            while True:
                seen.append((cursor.rowcount, cursor.lastrowid, cursor.fetchall() if cursor.description else None))
                if not cursor.nextset():
                    return seen

    def multi_refused(self):
        with self.c.cursor() as cursor:
            cursor.execute("select 1; select 2; select * from wm_missing; select 4")
            equal(((1,),), tuple(cursor.fetchall()))
            check(cursor.nextset())
            said = self.refused(1146, cursor.nextset)
        return said, self.one(self.c, "select 5")

    def syntax(self):
        return self.refused(1064, self.run, self.c, "this is no statement")

    def among_rows(self):
        """An error that comes when rows have come."""
        statement = "select a, if(a < 15000, a, (select 1 union select 2)) from py_n order by a"
        return self.refused(1242, self.all, self.c, statement)

    def warnings(self):
        self.run(self.c, "select cast('abc' as signed)")
        return self.all(self.c, "show warnings")

    def affected(self):
        self.run(self.c, "create table py_a(a int primary key auto_increment, b int)")
        with self.c.cursor() as cursor:
            seen = [cursor.execute("insert into py_a(b) values (1), (2), (3)"), cursor.lastrowid]
            seen += [cursor.execute("update py_a set b = 9"), cursor.execute("update py_a set b = 9")]
            seen += [cursor.executemany("insert into py_a(b) values (%s)", [(n,) for n in range(100)])]
            seen += [cursor.execute("delete from py_a")]
        self.run(self.c, "drop table py_a")
        return seen

    # Sizes.

    def rows_around(self, size):
        def body():
            seen = self.one(self.c, f"select repeat('x', {size})")
            equal(size, len(seen))
            equal("x" * 8, seen[-8:])
            return self.one(self.c, "select 1")

        return body

    def parameter(self, size):
        def body():
            value = b"z" * (size - 1) + b"q"
            ((length, end),) = self.all(self.c, "select length(%s), right(%s, 3)", (value, value[-1000:]))
            equal((size, b"zzq"), (length, end if isinstance(end, bytes) else end.encode()))
            return self.one(self.c, "select 1")

        return body

    def many_rows(self):
        self.run(self.c, "drop table if exists py_n")
        self.run(self.c, "create table py_n(a int primary key, b varchar(40))")
        for block in range(20):
            values = ",".join(f"({n}, 'row {n}')" for n in range(block * 1000, block * 1000 + 1000))
            self.run(self.c, f"insert into py_n values {values}")
        seen = self.all(self.c, "select a, b from py_n order by a")
        equal([(n, f"row {n}") for n in range(20000)], list(seen))
        return len(seen)

    def too_large(self):
        """The server ends a connection whose packet is too large, after it has said so."""
        if self.server == "mysql8":
            c = self.open()
            self.run(self.c, "set global max_allowed_packet = 1048576")
            try:
                d = self.open()
                try:
                    seen = self.one(d, "select length(%s)", (b"z" * 3_000_000,))
                except self.error as e:
                    seen = "refused" if e.args[0] in (1153, 2006, 2013) else e.args
                except BrokenPipeError:
                    seen = "refused"
            finally:
                self.run(self.c, "set global max_allowed_packet = 134217728")
            c.close()
            return seen
        return "not here"

    def streaming(self):
        with self.c.cursor(self.library.streaming) as cursor:
            cursor.execute("select a, b from py_n order by a")
            equal((0, "row 0"), cursor.fetchone())
            equal(19999, sum(1 for _ in cursor))
        return "20000"

    def unread(self):
        c = self.open()
        cursor = c.cursor(self.library.streaming)
        cursor.execute("select a, b from py_n order by a")
        cursor.fetchone()
        cursor.close()
        seen = self.one(c, "select 3")
        c.close()
        return seen

    # LOCAL INFILE.

    def infile(self):
        self.run(self.c, "create table py_l(a int, b varchar(20))")
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.writelines(f"{n},v{n}\n" for n in range(50000))
            file.flush()
            load = f"load data local infile '{file.name}' into table py_l fields terminated by ','"
            equal(50000, self.run(self.c, load))
            said = self.refused(1146, self.run, self.c, load.replace("py_l", "wm_missing"))
        seen = self.one(self.c, "select sum(a) from py_l")
        return str(seen), said

    def infile_missing(self):
        try:
            self.run(self.c, "load data local infile '/missing.csv' into table py_l fields terminated by ','")
        except self.error as e:
            said = str(e.args[0])
        else:
            raise AssertionError("wanted an error")
        seen = self.one(self.c, "select count(*) from py_l")
        self.run(self.c, "drop table py_l")
        return said, seen

    # Procedures.

    def call(self):
        self.run(self.c, "drop procedure if exists py_p")
        self.run(
            self.c,
            "create procedure py_p(in n int, out o int) begin select n, n + 1;"
            " select 'second' union all select 'row'; set o = n * 2; end",
        )
        with self.c.cursor() as cursor:
            cursor.callproc("py_p", (21, 0))
            seen = [cursor.fetchall()]
            while cursor.nextset():
                seen.append(cursor.fetchall() if cursor.description else None)
        seen.append(self.all(self.c, "select @_py_p_0, @_py_p_1"))
        self.run(self.c, "drop procedure py_p")
        return seen

    # Transactions and who ends them.

    def transactions(self):
        self.run(self.c, "drop table if exists py_t")
        self.run(self.c, "create table py_t(a int primary key) engine=innodb")
        c = self.open()
        c.autocommit(False)
        self.run(c, "insert into py_t values (1)")
        c.rollback()
        self.run(c, "insert into py_t values (2)")
        self.run(c, "savepoint s")
        self.run(c, "insert into py_t values (3)")
        self.run(c, "rollback to savepoint s")
        c.commit()
        seen = self.all(c, "select a from py_t")
        c.close()
        return seen

    def insert_after(self, end, n):
        """Inserts a row whose number somebody else's transaction had, which has ended."""
        # That may be later than its connection ends, and once MariaDB did not wake who waited for its lock: it is asked again.
        self.run(self.c, "set innodb_lock_wait_timeout = 1")
        seen = []

        def inserted():
            try:
                seen.append(self.run(self.c, f"insert into py_t values ({n})"))
            except self.error as e:
                equal(1205, e.args[0])
            # Who has waited for a row that is gone keeps the gap that it leaves until the transaction ends.
            self.c.commit()
            return bool(seen)

        until(inserted, end)
        self.run(self.c, "set innodb_lock_wait_timeout = 50")
        return seen

    def number(self):
        """Whether the server's number for the connection is that of the greeting."""
        c = self.open()
        seen = self.one(c, "select connection_id()") == c.thread_id()
        c.close()
        return seen

    def killed(self):
        c = self.open()
        c.begin()
        self.run(c, "insert into py_t values (50)")
        self.run(self.c, f"kill {c.thread_id()}")
        try:
            seen = self.one(c, "select 1")
        except self.error as e:
            # Which of them depends on what the client's system has seen first.
            check(e.args[0] in (2006, 2013, 1927, 4031), e.args)
            seen = "gone"
        return seen, self.insert_after("rolled back", 50)

    def left(self):
        """Who leaves without a word leaves nothing behind."""
        c = self.open()
        number = c.thread_id()
        c.begin()
        self.run(c, "insert into py_t values (60)")
        self.library.drop(c)
        here = "select count(*) from information_schema.processlist where id = %s"
        until(lambda: self.one(self.c, here, (number,)) == 0, "the connection has ended")
        return self.insert_after("its lock is gone", 60)

    def left_among_rows(self):
        c = self.open()
        number = c.thread_id()
        cursor = c.cursor(self.library.streaming)
        cursor.execute(f"select a.a, b.b, {number} from py_n a, py_n b")
        cursor.fetchone()
        self.library.drop(c)
        here = "select count(*) from information_schema.processlist where id = %s or info like %s"
        until(lambda: self.one(self.c, here, (number, f"select a.a%, {number} from%")) == 0, "the statement has ended")
        return "ended"

    def kill_query(self):
        c = self.open()
        number = c.thread_id()
        seen = []

        def long():
            try:
                seen.append(self.one(c, f"select sum(a.a + b.a * c.a), {number} from py_n a, py_n b, py_n c"))
            except self.error as e:
                seen.append(e.args[0])

        thread = threading.Thread(target=long)
        thread.start()
        running = "select count(*) from information_schema.processlist where info like %s"
        until(lambda: self.one(self.c, running, (f"select sum%, {number} from%",)) == 1, "it runs")
        self.run(self.c, f"kill query {number}")
        thread.join()
        equal([1317], seen)
        return seen, self.one(c, "select 8")

    def locks(self):
        a, b = self.open(), self.open()
        seen = [self.one(a, "select get_lock('py', 0)"), self.one(b, "select get_lock('py', 0)")]
        a.close()
        seen.append(self.one(b, "select get_lock('py', 10)"))
        b.close()
        return seen

    # Sessions.

    def sessions(self):
        connections, last = [], []
        for n in range(6):
            c = self.open(autocommit=True)
            self.run(c, f"set @u = {n}, session sort_buffer_size = {262144 + 4096 * n}, time_zone = '+0{n}:00'")
            self.run(c, f"create temporary table py_tmp as select {n} v")
            self.run(c, f"insert into py_m(b) values ('k{n}')")
            last.append(self.one(c, "select last_insert_id()"))
            connections.append(c)
        for _ in range(5):
            for n in reversed(range(6)):
                want = (n, f"+0{n}:00", 262144 + 4096 * n, n, last[n])
                statement = "select @u, @@time_zone, @@sort_buffer_size, (select v from py_tmp), last_insert_id()"
                equal((want,), tuple(self.all(connections[n], statement)))
        for c in connections:
            c.close()
        c = self.open()
        said = self.refused(1146, self.run, c, "select * from py_tmp")
        seen = self.all(c, "select @u, @@time_zone")
        c.close()
        return seen, said

    def ping(self):
        self.c.ping()
        self.c.select_db("mysql")
        seen = self.one(self.c, "select database()")
        self.c.select_db("test")
        return seen

    def many(self):
        connections = [self.open() for _ in range(60)]
        for n in reversed(range(60)):
            equal(n, self.one(connections[n], f"select {n}"))
        for c in connections:
            c.close()
        return len(connections)

    def end(self):
        for name in ("py_m", "py_n", "py_t"):
            self.run(self.c, f"drop table if exists {name}")
        self.c.close()
        return "closed"

    def steps(self):
        yield from ((f"auth {user}", self.auth(user, password)) for user, password in self.accounts().items())
        for body in (
            self.wrong_password, self.unknown_user, self.unknown_schema, self.tls_needed, self.tls, self.types,
            self.charset, self.description, self.multi, self.multi_refused, self.syntax, self.warnings, self.affected,
            self.many_rows, self.among_rows, self.streaming, self.unread, self.infile, self.infile_missing, self.call,
            self.transactions, self.number, self.killed, self.left, self.left_among_rows, self.kill_query, self.locks,
            self.sessions, self.ping, self.many,
        ):
            yield body.__name__.replace("_", " "), body
        for size in (0xFFFFFF - 10, 0xFFFFFF - 5, 0xFFFFFF - 4, 0xFFFFFF, 0x1000000, 20_000_000, 0x1FFFFFE):
            yield f"row of {size}", self.rows_around(size)
        for size in (0xFFFFFF - 20, 0xFFFFFF, 20_000_000, 40_000_000):
            yield f"parameter of {size}", self.parameter(size)
        yield "too large", self.too_large
        yield from self.own()
        yield "end", self.end

    def own(self):
        """Steps of this library alone."""
        return ()


class MysqlclientSteps(Client):
    def compressed(self):
        c = self.open(compress=True)
        value = "ab" * 3_000_000
        equal(value, self.one(c, "select %s", (value,)))
        seen = self.all(c, "show status like 'Compression'")
        c.close()
        return seen

    def change_user(self):
        c = self.open()
        self.run(c, "set @r = 5")
        c.change_user("nopw", "", "test")
        seen = self.all(c, "select @r, current_user()")
        c.change_user("nat", "natpw", "mysql")
        seen += self.all(c, "select @r, current_user(), database()")
        c.close()
        return seen

    def own(self):
        yield "compressed", self.compressed
        yield "change user", self.change_user


def wire_steps(address, server):
    import record

    for name in record.scenarios(address, server):
        yield name, lambda name=name: record.scenarios(address, server)[name]() or "as it should be"


def main():
    kind, address, server, ca, *ways = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    steps, address = Steps(), (host, int(port))
    if kind == "wire":
        every = wire_steps(address, server)
    elif ways[:1] == ["converse"]:
        library = PyMySQL() if kind == "pymysql" else Mysqlclient()
        every = Conversation(library, address, *ways[1:]).steps()
    else:
        if kind == "pymysql":
            client = Client(PyMySQL(), address, server, ca)
        else:
            client = MysqlclientSteps(Mysqlclient(), address, server, ca)
        every = Ways(client, ways).steps() if ways else client.steps()
    for name, body in every:
        steps.step(name, body)
    return steps.finish()


if __name__ == "__main__":
    sys.exit(main())
