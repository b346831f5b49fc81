package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql"
)

type client struct {
	address, server, ca string
	c                   session
	steps
}

func (c *client) config(user, password string) *mysql.Config {
	return config(c.address, user, password)
}

func (c *client) as(user, password string) (session, error) {
	return connect(c.config(user, password))
}

func (c *client) open() session {
	s, err := c.as("nat", "natpw")
	must(err)
	return s
}

func (c *client) run() {
	c.c = c.open()
	c.logins()
	c.statements()
	c.prepared()
	c.sizes()
	c.endings()
	c.sessions()
	c.step("end", func() any {
		for _, name := range []string{"go_m", "go_n", "go_t"} {
			c.c.run("drop table if exists " + name)
		}
		c.c.end()
		return "closed"
	})
	c.finish()
}

func (c *client) accounts() [][2]string {
	accounts := [][2]string{{"nat", "natpw"}, {"nopw", ""}}
	switch c.server {
	case "mysql8":
		return append(accounts, [2]string{"sha2", "sha2pw"}, [2]string{"s256", "s256pw"})
	case "mariadb10":
		return append(accounts, [2]string{"ed", "edpw"})
	}
	return accounts
}

func (c *client) logins() {
	for _, account := range c.accounts() {
		// Of caching_sha2_password the first is full authentication, the second the fast one.
		c.step("auth "+account[0], func() any {
			c.c.run("flush privileges")
			var seen []string
			for range 2 {
				s, err := c.as(account[0], account[1])
				must(err)
				seen = append(seen, s.one("select current_user()"))
				s.end()
			}
			return seen
		})
	}
	c.step("wrong password", func() any {
		_, err := c.as("nat", "wrong")
		return refused(1045, err)
	})
	c.step("unknown schema", func() any {
		config := c.config("nat", "natpw")
		config.DBName = "wm_missing"
		_, err := connect(config)
		return refused(1049, err)
	})
	c.step("TLS needed", func() any {
		_, err := c.as("tlsonly", "tlspw")
		return refused(1045, err)
	})
	c.step("TLS", c.encrypted)
	c.step("compressed", func() any {
		config := c.config("nat", "natpw")
		must(config.Apply(mysql.EnableCompression(true)))
		s, err := connect(config)
		must(err)
		defer s.end()
		text := strings.Repeat("ab", 3_000_000)
		equal(text, s.one("select ?", text))
		rows, err := s.all("show status like 'Compression'")
		must(err)
		return rows
	})
}

// verified is TLS with whoever has a certificate of that CA's.
func (c *client) verified() *tls.Config {
	pem, err := os.ReadFile(c.ca)
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	// The names in the certificate are none of the machine's.
	config := &tls.Config{RootCAs: roots, InsecureSkipVerify: true}
	config.VerifyConnection = func(state tls.ConnectionState) error {
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots})
		return err
	}
	return config
}

func (c *client) encrypted() any {
	var seen []any
	for _, account := range [][2]string{{"nat", "natpw"}, {"tlsonly", "tlspw"}} {
		config := c.config(account[0], account[1])
		config.TLS = c.verified()
		s, err := connect(config)
		must(err)
		rows, err := s.all("show status like 'Ssl_cipher'")
		must(err)
		if rows[0][0][1] == "" {
			panic("no cipher")
		}
		seen = append(seen, rows, len(s.one("select repeat('x', 1000000)")))
		s.end()
	}
	return seen
}

func (c *client) statements() {
	c.step("types", func() any {
		rows, err := c.c.all("select 1, -9223372036854775808, 18446744073709551615, 1.5, 'text', null, x'00ff'," +
			" cast('2026-11-21 20:15:00.000001' as datetime(6)), cast('-12:30:00' as time)")
		must(err)
		return rows
	})
	c.step("columns", func() any {
		rows, err := c.c.QueryContext(background, "select 1 as one, 'x' as x, null as n, cast(1 as unsigned) as u")
		must(err)
		defer rows.Close()
		types, err := rows.ColumnTypes()
		must(err)
		var seen []string
		for _, column := range types {
			seen = append(seen, column.Name()+" "+column.DatabaseTypeName())
		}
		return seen
	})
	c.step("characters", func() any {
		text := "aé漢😀"
		equal(text, c.c.one("select ?", text))
		equal(text, c.c.one("select '"+text+"'"))
		return text
	})
	c.step("several statements", func() any {
		c.c.run("drop table if exists go_m; create table go_m(a int primary key auto_increment, b varchar(40))")
		result := c.c.run("insert into go_m(b) values ('x'), ('y'); update go_m set b = concat(b, '!')")
		affected, _ := result.RowsAffected()
		last, _ := result.LastInsertId()
		rows, err := c.c.all("select b from go_m order by a; select 7")
		must(err)
		return []any{affected, last, rows}
	})
	c.step("several, and an error", func() any {
		rows, err := c.c.all("select 1; select 2; select * from wm_missing; select 4")
		return []any{rows, refused(1146, err), c.c.one("select 5")}
	})
	c.step("no statement", func() any {
		_, err := c.c.ask("this is no statement")
		return refused(1064, err)
	})
	c.step("many rows", func() any {
		c.c.run("drop table if exists go_n")
		c.c.run("create table go_n(a int primary key, b varchar(40))")
		for block := range 20 {
			var values []string
			for n := block * 1000; n < block*1000+1000; n++ {
				values = append(values, fmt.Sprintf("(%d, 'row %d')", n, n))
			}
			c.c.run("insert into go_n values " + strings.Join(values, ","))
		}
		rows, err := c.c.all("select a, b from go_n order by a")
		must(err)
		for n, row := range rows[0] {
			equal([]string{fmt.Sprint(n), fmt.Sprintf("row %d", n)}, row)
		}
		return len(rows[0])
	})
	c.step("an error among rows", func() any {
		_, err := c.c.all("select a, if(a < 15000, a, (select 1 union select 2)) from go_n order by a")
		return refused(1242, err)
	})
	c.step("rows that are not read", func() any {
		rows, err := c.c.QueryContext(background, "select a, b from go_n")
		must(err)
		rows.Next()
		must(rows.Close())
		return c.c.one("select 3")
	})
	c.step("LOCAL INFILE", c.infile)
	c.step("CALL", func() any {
		c.c.run("drop procedure if exists go_p")
		c.c.run("create procedure go_p(n int) begin select n, n + 1; select 'second' union all select 'row'; end")
		text, err := c.c.all("call go_p(21)")
		must(err)
		prepared, err := c.c.all("call go_p(?)", 22)
		must(err)
		c.c.run("drop procedure go_p")
		return []any{text, prepared}
	})
}

func (c *client) infile() any {
	c.c.run("drop table if exists go_l")
	c.c.run("create table go_l(a int, b varchar(20))")
	mysql.RegisterReaderHandler("numbers", func() io.Reader {
		var text bytes.Buffer
		for n := range 50000 {
			fmt.Fprintf(&text, "%d,v%d\n", n, n)
		}
		return &text
	})
	load := "load data local infile 'Reader::%s' into table %s fields terminated by ','"
	affected, _ := c.c.run(fmt.Sprintf(load, "numbers", "go_l")).RowsAffected()
	_, missing := c.c.ExecContext(background, fmt.Sprintf(load, "numbers", "wm_missing"))
	_, unknown := c.c.ExecContext(background, fmt.Sprintf(load, "nothing", "go_l"))
	seen := []any{affected, refused(1146, missing), said(unknown), c.c.one("select sum(a) from go_l")}
	c.c.run("drop table go_l")
	return seen
}

func (c *client) prepared() {
	c.step("prepared types", func() any {
		var seen []any
		for n := range int64(3) {
			args := []any{-1<<63 + n, 1.5, "text", nil, []byte{0, 1, 255}, uint64(1) << 63}
			rows, err := c.c.all("select ?, ?, ?, ?, ?, ?", args...)
			must(err)
			seen = append(seen, rows)
		}
		return seen
	})
	c.step("200 statements", func() any {
		var prepared []*sql.Stmt
		for n := range 200 {
			statement, err := c.c.PrepareContext(background, fmt.Sprintf("select ? + %d", n))
			must(err)
			prepared = append(prepared, statement)
		}
		for n := 199; n >= 0; n-- {
			var seen int
			must(prepared[n].QueryRow(1000).Scan(&seen))
			equal(1000+n, seen)
			must(prepared[n].Close())
		}
		return "in the opposite order"
	})
	c.step("a statement that is none", func() any {
		_, err := c.c.PrepareContext(background, "select from where")
		return refused(1064, err)
	})
	c.step("a table that changes", func() any {
		c.c.run("create temporary table go_c(a int)")
		c.c.run("insert into go_c values (1)")
		statement, err := c.c.PrepareContext(background, "insert into go_c(a) values (?)")
		must(err)
		_, err = statement.Exec(2)
		must(err)
		c.c.run("alter table go_c add b int default 5")
		_, err = statement.Exec(3)
		must(err)
		rows, err := c.c.all("select * from go_c where a > ?", 0)
		must(err)
		return rows
	})
}

func (c *client) sizes() {
	for _, size := range []int{0xffffff - 10, 0xffffff - 5, 0xffffff - 4, 0xffffff, 0x1000000, 20_000_000, 0x1fffffe} {
		c.step(fmt.Sprintf("row of %d", size), func() any {
			equal(size, len(c.c.one(fmt.Sprintf("select repeat('x', %d)", size))))
			return c.c.one("select 1")
		})
	}
	for _, size := range []int{0xffffff - 20, 0xffffff, 20_000_000, 40_000_000} {
		c.step(fmt.Sprintf("parameter of %d", size), func() any {
			value := bytes.Repeat([]byte{'z'}, size)
			value[size-1] = 'q'
			rows, err := c.c.all("select length(?), right(?, 3)", value, value[size-1000:])
			must(err)
			equal([][][]string{{{fmt.Sprint(size), "zzq"}}}, rows)
			return rows
		})
	}
}

// here: whether the server still has this connection.
func (c *client) here(id string) bool {
	return c.c.one("select count(*) from information_schema.processlist where id = "+id) == "1"
}

func (c *client) endings() {
	c.step("transactions", func() any {
		c.c.run("drop table if exists go_t")
		c.c.run("create table go_t(a int primary key) engine=innodb")
		for n, end := range []func(*sql.Tx) error{(*sql.Tx).Rollback, (*sql.Tx).Commit} {
			tx, err := c.c.BeginTx(background, &sql.TxOptions{Isolation: sql.LevelSerializable})
			must(err)
			_, err = tx.Exec("insert into go_t values (?)", n)
			must(err)
			must(end(tx))
		}
		rows, err := c.c.all("select a from go_t")
		must(err)
		tx, err := c.c.BeginTx(background, &sql.TxOptions{ReadOnly: true})
		must(err)
		_, err = tx.Exec("insert into go_t values (9)")
		must(tx.Rollback())
		return []any{rows, refused(1792, err)}
	})
	c.step("KILL", func() any {
		s, id := numbered(c.config("nat", "natpw"))
		defer s.end()
		s.run("begin; insert into go_t values (50)")
		c.c.run("kill " + id)
		until("gone", func() bool { return !c.here(id) })
		if _, err := s.ask("select 1"); err == nil {
			panic("an answer after KILL")
		}
		until("rolled back", func() bool { return c.c.one("select count(*) from go_t where a = 50") == "0" })
		return "rolled back"
	})
	c.step("KILL QUERY", func() any {
		s, id := numbered(c.config("nat", "natpw"))
		defer s.end()
		ended := make(chan error)
		go func() {
			_, err := s.ask("select sum(a.a + b.a * c.a), " + id + " from go_n a, go_n b, go_n c")
			ended <- err
		}()
		running := "select count(*) from information_schema.processlist where info like 'select sum%, " + id + " from%'"
		until("it runs", func() bool { return c.c.one(running) == "1" })
		c.c.run("kill query " + id)
		return []any{refused(1317, <-ended), s.one("select 8")}
	})
	c.step("a client that gives up", func() any {
		s := c.open()
		defer s.end()
		id := s.one("select connection_id()")
		limited, cancel := context.WithCancel(background)
		rows, err := s.QueryContext(limited, "select a.a, b.b from go_n a, go_n b")
		must(err)
		rows.Next()
		cancel()
		for rows.Next() {
		}
		rows.Close()
		until("the statement has ended", func() bool { return !c.here(id) })
		return "ended"
	})
}

func (c *client) sessions() {
	c.step("six sessions", func() any {
		var open []session
		var last []string
		for n := range 6 {
			s := c.open()
			s.run(fmt.Sprintf("set @u = %d, session sort_buffer_size = %d, time_zone = '+0%d:00'", n, 262144+4096*n, n))
			s.run(fmt.Sprintf("create temporary table go_tmp as select %d v", n))
			equal("1", s.one(fmt.Sprintf("select get_lock('go%d', 0)", n)))
			id, err := s.run("insert into go_m(b) values (?)", n).LastInsertId()
			must(err)
			open, last = append(open, s), append(last, fmt.Sprint(id))
		}
		for range 5 {
			for n := 5; n >= 0; n-- {
				want := fmt.Sprintf("%d +0%d:00 %d %d %s", n, n, 262144+4096*n, n, last[n])
				equal(want, open[n].one("select concat_ws(' ', @u, @@time_zone, @@sort_buffer_size,"+
					" (select v from go_tmp), last_insert_id())"))
			}
		}
		for _, s := range open {
			s.end()
		}
		s := c.open()
		defer s.end()
		_, err := s.ask("select * from go_tmp")
		return []any{s.one("select concat_ws(' ', @u is null, @@time_zone, get_lock('go3', 5))"), refused(1146, err)}
	})
	c.step("a pool of 16", func() any {
		connector, err := mysql.NewConnector(c.config("nat", "natpw"))
		must(err)
		db := sql.OpenDB(connector)
		defer db.Close()
		db.SetMaxOpenConns(16)
		var wait sync.WaitGroup
		wrong := make(chan string, 16)
		for task := range 16 {
			wait.Go(func() {
				for n := range 100 {
					var seen int
					if err := db.QueryRow("select ? * 1000 + ?", task, n).Scan(&seen); err != nil || seen != task*1000+n {
						wrong <- fmt.Sprint(seen, err)
						return
					}
				}
			})
		}
		wait.Wait()
		close(wrong)
		for what := range wrong {
			panic(what)
		}
		return "1600 answers"
	})
}
