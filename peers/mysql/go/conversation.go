package main

import "database/sql"

// converse is one short connection with something of everything, to be recorded.
func (c *client) converse(user, password string) {
	var err error
	c.c, err = c.as(user, password)
	must(err)
	c.step("table", func() any {
		c.c.run("drop table if exists wm_said")
		c.c.run("create table wm_said(a int primary key, b varchar(20)) engine=innodb")
		insert, err := c.c.PrepareContext(background, "insert into wm_said values (?, ?)")
		must(err)
		for _, row := range [][]any{{1, "one"}, {2, nil}, {3, "three"}} {
			_, err := insert.Exec(row...)
			must(err)
		}
		_, err = insert.Exec(1, "again")
		said := refused(1062, err)
		must(insert.Close())
		return said
	})
	c.step("rows", func() any {
		want := [][][]string{{{"1", "one"}, {"2", "NULL"}, {"3", "three"}}}
		text, err := c.c.all("select a, b from wm_said order by a")
		must(err)
		equal(want, text)
		// Prepared, executed and closed.
		prepared, err := c.c.all("select a, b from wm_said where a < ? order by a", 10)
		must(err)
		equal(want, prepared)
		none, err := c.c.all("select a, b from wm_said where a > ?", 10)
		must(err)
		return none
	})
	c.step("several", func() any {
		seen, err := c.c.all("select 1; update wm_said set b = 'two' where a = 2; select b from wm_said where a = 2")
		must(err)
		equal([]string{"two"}, seen[len(seen)-1][0])
		return seen
	})
	c.step("transactions", func() any {
		for n, end := range []func(*sql.Tx) error{(*sql.Tx).Rollback, (*sql.Tx).Commit} {
			tx, err := c.c.BeginTx(background, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
			must(err)
			_, err = tx.Exec("insert into wm_said values (?, 'new')", 4+n)
			must(err)
			must(end(tx))
		}
		rows, err := c.c.all("select a from wm_said where a > 3")
		must(err)
		equal([][][]string{{{"5"}}}, rows)
		return rows
	})
	c.step("errors", func() any {
		_, text := c.c.ask("select * from wm_missing")
		_, prepared := c.c.PrepareContext(background, "select * from wm_missing where a = ?")
		return []string{refused(1146, text), refused(1146, prepared)}
	})
	c.step("ping", func() any {
		must(c.c.PingContext(background))
		return "answered"
	})
	c.step("end", func() any {
		c.c.run("drop table wm_said")
		c.c.end()
		return "closed"
	})
	c.finish()
}
