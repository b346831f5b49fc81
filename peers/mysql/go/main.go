// client steps HOST:PORT SERVER CA: go-sql-driver/mysql, all answers checked.
// client steps HOST:PORT SERVER CA CLIENT-SERVER=HOST:PORT...: its logins by these ways, and no more.
// client steps HOST:PORT SERVER CA converse USER PASSWORD: one short connection, to be recorded.
// client load HOST:PORT [-clients N] [-seconds N]: transfers between accounts, compared with a model.
// client slow HOST:PORT [-mib N]: a large result that is read slowly.
package main

import (
	"fmt"
	"os"

	"github.com/go-sql-driver/mysql"
)

// quiet: what the driver would say beside the errors that it returns.
type quiet struct{}

func (quiet) Print(...any) {}

func main() {
	must(mysql.SetLogger(quiet{}))
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "client steps|load|slow HOST:PORT ...")
		os.Exit(2)
	}
	address, rest := os.Args[2], os.Args[3:]
	switch os.Args[1] {
	case "steps":
		c := client{address: address, server: rest[0], ca: rest[1]}
		switch {
		case len(rest) == 5 && rest[2] == "converse":
			c.converse(rest[3], rest[4])
		case len(rest) > 2:
			c.ways(rest[2:])
		default:
			c.run()
		}
	case "load":
		load(address, rest)
	case "slow":
		slow(address, rest)
	}
}
