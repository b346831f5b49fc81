package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// way is an address of the same server. Its name is CLIENT-SERVER: whether that leg has TLS ("TLS") or not ("clear").
type way struct{ name, address string }

// ways logs in by each, and does no more than see how it came in. The last has TLS on both legs.
func (c *client) ways(named []string) {
	var ways []way
	for _, text := range named {
		name, address, _ := strings.Cut(text, "=")
		ways = append(ways, way{name, address})
	}
	c.c = c.open()
	for _, account := range append(c.accounts(), [2]string{"tlsonly", "tlspw"}) {
		for _, by := range ways {
			c.step(account[0]+" "+by.name, func() any {
				return c.loginsBy(by, ways[len(ways)-1], account[0], account[1])
			})
		}
	}
	c.finish()
}

func (c *client) loginsBy(at, elsewhere way, user, password string) string {
	// Of caching_sha2_password the first is full authentication, the second the fast one.
	c.c.run("flush privileges")
	seen := []string{c.enter(at, user, password), c.enter(at, user, password)}
	if seen[1] == "1045" {
		c.enter(elsewhere, user, password)
		seen = append(seen, c.enter(at, user, password))
	}
	return strings.Join(append(seen, c.enter(at, user, password+"x")), ", ")
}

// enter is who it is, and whether the server sees TLS; or the number of the error.
func (c *client) enter(at way, user, password string) string {
	config := config(at.address, user, password)
	if strings.HasPrefix(at.name, "TLS") {
		config.TLS = c.verified()
	}
	s, err := connect(config)
	if err != nil {
		var refused *mysql.MySQLError
		if errors.As(err, &refused) {
			return fmt.Sprint(refused.Number)
		}
		panic(err)
	}
	defer s.end()
	who := s.one("select current_user()")
	rows, err := s.all("show status like 'Ssl_cipher'")
	must(err)
	// Several records of TLS.
	equal(100000, len(s.one("select repeat('x', 100000)")))
	if rows[0][0][1] == "" {
		return who + " clear"
	}
	return who + " TLS"
}
