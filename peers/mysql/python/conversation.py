"""One short connection with something of everything, to be recorded. Neither library has prepared statements but as text."""

from steps import equal


class Conversation:
    def __init__(self, library, address, user, password):
        self.library, self.who = library, (user, password)
        self.c = library.connect(address, user, password)

    def all(self, sql, args=None, cursor=None):
        """Every result's rows."""
        with self.c.cursor(cursor) as cursor:
            cursor.execute(sql, args)
            results = [list(cursor.fetchall())]
            while cursor.nextset():
                results.append(list(cursor.fetchall()))
            return results

    def refused(self, code, sql):
        try:
            seen = self.all(sql)
        except self.library.module.Error as e:
            equal(code, e.args[0])
            return code
        raise AssertionError(f"wanted error {code}, saw {seen!r}")

    def steps(self):
        for body in (
            self.table, self.rows, self.streamed, self.prepared, self.several, self.transactions, self.errors, self.ping,
            self.own, self.end,
        ):
            yield body.__name__, body

    def table(self):
        self.all("drop table if exists wm_said")
        self.all("create table wm_said(a int primary key, b varchar(20)) engine=innodb")
        with self.c.cursor() as cursor:
            return cursor.executemany("insert into wm_said values (%s, %s)", [(1, "one"), (2, None), (3, "three")])

    def rows(self):
        seen = self.all("select a, b from wm_said where a < %s order by a", (10,))
        equal([[(1, "one"), (2, None), (3, "three")]], seen)
        equal([[]], self.all("select a, b from wm_said where a > 10"))
        return seen

    def streamed(self):
        seen = self.all("select a from wm_said order by a", cursor=self.library.streaming)
        equal([[(1,), (2,), (3,)]], seen)
        return seen

    def prepared(self):
        self.all("prepare s from 'select b from wm_said where a = ?'")
        self.all("set @a = 3")
        equal([[("three",)]], self.all("execute s using @a"))
        return self.all("deallocate prepare s")

    def several(self):
        seen = self.all("select 1; update wm_said set b = 'two' where a = 2; select b from wm_said where a = 2")
        equal(([(1,)], [("two",)]), (seen[0], seen[-1]))
        return seen

    def transactions(self):
        self.c.begin()
        self.all("insert into wm_said values (4, 'gone')")
        self.c.rollback()
        self.c.begin()
        self.all("insert into wm_said values (5, 'five')")
        self.c.commit()
        seen = self.all("select a from wm_said where a > 3")
        equal([[(5,)]], seen)
        return seen

    def errors(self):
        return self.refused(1062, "insert into wm_said values (1, 'again')"), self.refused(1146, "select * from wm_missing")

    def ping(self):
        return self.library.ping(self.c)

    def own(self):
        """What not every library has."""
        self.c.select_db("mysql")
        equal([[("mysql",)]], self.all("select database()"))
        self.c.select_db("test")
        return self.library.own(self.c, *self.who)

    def end(self):
        self.all("drop table wm_said")
        self.c.commit()
        self.c.close()
        return "closed"
