package main

import (
	"crypto/sha1"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	accounts = 20
	initial  = 1000
)

// worker is one client and what it knows to be true.
type worker struct {
	number  int
	address string
	session
	random *rand.Rand
	// What was acknowledged.
	transfers, operations, counter int
	deadlocks                      int
	values                         map[int]string
}

// load has clients move money between shared accounts and keep rows of their own, and compares every answer with what
// it has to be; in the end all that was acknowledged has to be there, once.
func load(address string, args []string) {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	clients := flags.Int("clients", 16, "how many")
	seconds := flags.Float64("seconds", 8, "for how long")
	seed := flags.Uint64("seed", 1, "of what they choose")
	must(flags.Parse(args))
	fmt.Println("seed", *seed)

	control, err := connect(config(address, "nat", "natpw"))
	must(err)
	prepare(control, *clients)
	end := time.Now().Add(time.Duration(*seconds * float64(time.Second)))
	workers := make([]*worker, *clients)
	failures := make(chan string, *clients)
	var wait sync.WaitGroup
	for n := range workers {
		w := &worker{number: n, address: address, values: map[int]string{}}
		w.random = rand.New(rand.NewPCG(*seed, uint64(n)))
		workers[n] = w
		wait.Go(func() {
			defer func() {
				if reason := recover(); reason != nil {
					failures <- fmt.Sprintf("client %d after %d operations: %v", n, w.operations, reason)
				}
			}()
			w.reconnect()
			for time.Now().Before(end) {
				w.operate()
				w.operations++
			}
			w.end()
		})
	}
	wait.Wait()
	close(failures)
	failed := false
	for what := range failures {
		failed = true
		fmt.Println("FAIL", what)
	}
	if failed {
		os.Exit(1)
	}
	judge(control, workers)
}

func prepare(control session, clients int) {
	control.run("drop table if exists wm_account, wm_ledger, wm_counter, wm_value")
	control.run("create table wm_account(id int primary key, balance bigint not null) engine=innodb")
	control.run("create table wm_ledger(client int, n int, source int, target int, amount int, primary key(client, n)) engine=innodb")
	control.run("create table wm_counter(client int primary key, n int not null) engine=innodb")
	control.run("create table wm_value(client int, k int, v mediumtext, primary key(client, k)) engine=innodb")
	for n := range accounts {
		control.run(fmt.Sprintf("insert into wm_account values (%d, %d)", n, initial))
	}
	for n := range clients {
		control.run("insert into wm_counter values (?, 0)", n)
	}
}

func (w *worker) reconnect() {
	settings := config(w.address, "nat", "natpw")
	// Half of them never prepare.
	settings.InterpolateParams = w.number%2 == 1
	s, err := connect(settings)
	must(err)
	w.session = s
	w.run("set @me = ?", w.number)
}

func (w *worker) operate() {
	switch kind := w.random.IntN(20); {
	case kind < 7:
		w.transfer()
	case kind < 10:
		w.run("update wm_counter set n = n + 1 where client = ?", w.number)
		w.counter++
		equal(fmt.Sprint(w.counter), w.one("select n from wm_counter where client = ?", w.number))
	case kind < 13:
		k, v := w.random.IntN(10), strings.Repeat(fmt.Sprint(w.random.Uint64()), 1+w.random.IntN(3000))
		w.run("replace into wm_value values (?, ?, ?)", w.number, k, v)
		w.values[k] = v
		equal(v, w.one("select v from wm_value where client = ? and k = ?", w.number, k))
	case kind < 15:
		nonce := fmt.Sprintf("%d-%d", w.number, w.random.Uint64())
		equal(fmt.Sprint(w.number, " ", nonce), w.one("select concat(@me, ' ', ?)", nonce))
	case kind < 17:
		w.undone()
	case kind < 18:
		// Whatever is being moved, no money is lost or made.
		rows, err := w.all("select sum(balance), count(*) from wm_account; select @me")
		must(err)
		equal([][][]string{{{fmt.Sprint(accounts * initial), fmt.Sprint(accounts)}}, {{fmt.Sprint(w.number)}}}, rows)
	case kind < 19:
		_, err := w.ask("select * from wm_missing where a = ?", w.number)
		refused(1146, err)
	default:
		w.end()
		w.reconnect()
	}
}

func (w *worker) transfer() {
	source, target := w.random.IntN(accounts), w.random.IntN(accounts)
	amount := 1 + w.random.IntN(50)
	err := w.within(func(tx *sql.Tx) error {
		var balance int
		// In no order, so that some have to be undone.
		if err := tx.QueryRow("select balance from wm_account where id = ? for update", source).Scan(&balance); err != nil {
			return err
		}
		if _, err := tx.Exec("update wm_account set balance = balance - ? where id = ?", amount, source); err != nil {
			return err
		}
		if _, err := tx.Exec("update wm_account set balance = balance + ? where id = ?", amount, target); err != nil {
			return err
		}
		var after int
		if err := tx.QueryRow("select balance from wm_account where id = ?", source).Scan(&after); err != nil {
			return err
		}
		if source != target {
			equal(balance-amount, after)
		}
		_, err := tx.Exec("insert into wm_ledger values (?, ?, ?, ?, ?)", w.number, w.transfers, source, target, amount)
		return err
	})
	var refused *mysql.MySQLError
	if errors.As(err, &refused) && (refused.Number == 1213 || refused.Number == 1205) {
		w.deadlocks++
		return
	}
	must(err)
	w.transfers++
}

func (w *worker) within(body func(*sql.Tx) error) error {
	tx, err := w.BeginTx(background, nil)
	must(err)
	if err := body(tx); err != nil {
		must(tx.Rollback())
		return err
	}
	return tx.Commit()
}

// undone writes, reads its own write, and rolls back.
func (w *worker) undone() {
	tx, err := w.BeginTx(background, nil)
	must(err)
	_, err = tx.Exec("update wm_counter set n = -1 where client = ?", w.number)
	must(err)
	var seen int
	must(tx.QueryRow("select n from wm_counter where client = ?", w.number).Scan(&seen))
	equal(-1, seen)
	must(tx.Rollback())
	equal(fmt.Sprint(w.counter), w.one("select n from wm_counter where client = ?", w.number))
}

// judge compares what is there with what was acknowledged.
func judge(control session, workers []*worker) {
	var operations, transfers, deadlocks int
	for _, w := range workers {
		operations, transfers, deadlocks = operations+w.operations, transfers+w.transfers, deadlocks+w.deadlocks
		client := fmt.Sprint(w.number)
		equal(fmt.Sprint(w.transfers), control.one("select count(*) from wm_ledger where client = "+client))
		equal(fmt.Sprint(w.counter), control.one("select n from wm_counter where client = "+client))
		rows, err := control.all("select k, sha1(v) from wm_value where client = " + client)
		must(err)
		equal(len(w.values), len(rows[0]))
		for _, row := range rows[0] {
			var k int
			fmt.Sscan(row[0], &k)
			equal(fmt.Sprintf("%x", sha1.Sum([]byte(w.values[k]))), row[1])
		}
	}
	equal(fmt.Sprint(transfers), control.one("select count(*) from wm_ledger"))
	wrong := "select count(*) from wm_account a where balance <> %d" +
		" + (select coalesce(sum(amount), 0) from wm_ledger where target = a.id)" +
		" - (select coalesce(sum(amount), 0) from wm_ledger where source = a.id)"
	equal("0", control.one(fmt.Sprintf(wrong, initial)))
	equal(fmt.Sprint(accounts*initial), control.one("select sum(balance) from wm_account"))
	if transfers == 0 {
		panic("nothing was transferred")
	}
	control.run("drop table wm_account, wm_ledger, wm_counter, wm_value")
	control.end()
	fmt.Printf("PASS %d operations, %d transfers, %d undone by the server\n", operations, transfers, deadlocks)
}
