package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/go-sql-driver/mysql"
)

var background = context.Background()

// session is a connection of its own.
type session struct {
	db *sql.DB
	*sql.Conn
}

func config(address, user, password string) *mysql.Config {
	config := mysql.NewConfig()
	config.User, config.Passwd, config.Net, config.Addr = user, password, "tcp", address
	config.DBName, config.MultiStatements = "test", true
	config.Timeout, config.ReadTimeout = 10*time.Second, 90*time.Second
	config.MaxAllowedPacket = 1 << 27
	return config
}

func connect(config *mysql.Config) (session, error) {
	connector, err := mysql.NewConnector(config)
	must(err)
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(background)
	if err != nil {
		db.Close()
	}
	return session{db, conn}, err
}

// greeted keeps the start of what it reads: a server's greeting.
type greeted struct {
	net.Conn
	start []byte
}

func (g *greeted) Read(into []byte) (int, error) {
	n, err := g.Conn.Read(into)
	if len(g.start) < 64 {
		g.start = append(g.start, into[:n]...)
	}
	return n, err
}

// numbered is a session, and the number that it was greeted with: KILL goes by that, and the library keeps it to itself.
func numbered(config *mysql.Config) (session, string) {
	var conn greeted
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		var dialer net.Dialer
		var err error
		conn.Conn, err = dialer.DialContext(ctx, network, address)
		return &conn, err
	}
	s, err := connect(config)
	must(err)
	// Behind the packet's header and the protocol's version: the server's version, up to a zero.
	_, rest, _ := bytes.Cut(conn.start[5:], []byte{0})
	return s, fmt.Sprint(binary.LittleEndian.Uint32(rest))
}

func (s session) end() {
	s.Conn.Close()
	s.db.Close()
}

func (s session) ask(statement string, args ...any) (string, error) {
	var value sql.NullString
	err := s.QueryRowContext(background, statement, args...).Scan(&value)
	if err == nil && !value.Valid {
		return "NULL", nil
	}
	return value.String, err
}

// one is the first column of the first row.
func (s session) one(statement string, args ...any) string {
	value, err := s.ask(statement, args...)
	must(err)
	return value
}

func (s session) run(statement string, args ...any) sql.Result {
	result, err := s.ExecContext(background, statement, args...)
	must(err)
	return result
}

// all are all rows of all results.
func (s session) all(statement string, args ...any) ([][][]string, error) {
	rows, err := s.QueryContext(background, statement, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var results [][][]string
	for {
		columns, err := rows.Columns()
		must(err)
		var result [][]string
		for rows.Next() {
			result = append(result, scan(rows, len(columns)))
		}
		results = append(results, result)
		if rows.Err() != nil || !rows.NextResultSet() {
			return results, rows.Err()
		}
	}
}

func scan(rows *sql.Rows, columns int) []string {
	values, into := make([]sql.NullString, columns), make([]any, columns)
	for n := range values {
		into[n] = &values[n]
	}
	must(rows.Scan(into...))
	row := make([]string, columns)
	for n, value := range values {
		row[n] = "NULL"
		if value.Valid {
			row[n] = value.String
		}
	}
	return row
}

func said(err error) string {
	var refused *mysql.MySQLError
	if errors.As(err, &refused) {
		return fmt.Sprintf("%d/%s %s", refused.Number, refused.SQLState[:], refused.Message)
	}
	return fmt.Sprint(err)
}

// refused is what the error says that has to come.
func refused(code uint16, err error) string {
	var seen *mysql.MySQLError
	if !errors.As(err, &seen) || seen.Number != code {
		panic(fmt.Sprintf("wanted error %d, saw %v", code, err))
	}
	return said(err)
}
