package main

import (
	"crypto/sha1"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"
)

// steps prints `ok NAME: ...` or `FAIL NAME: ...` for each step but those of SKIP_STEPS (`NAME;NAME`), and a last line.
type steps struct{ ok, failed int }

func (s *steps) step(name string, body func() any) {
	if slices.Contains(strings.Split(os.Getenv("SKIP_STEPS"), ";"), name) {
		return
	}
	defer func() {
		if reason := recover(); reason != nil {
			s.failed++
			fmt.Printf("FAIL %s: %s\n", name, brief(reason))
		}
	}()
	seen := brief(body())
	s.ok++
	fmt.Printf("ok %s: %s\n", name, seen)
}

func (s *steps) finish() {
	verdict := "PASS"
	if s.failed > 0 || s.ok == 0 {
		verdict = "FAILED"
	}
	fmt.Printf("%s %d ok, %d failed\n", verdict, s.ok, s.failed)
	if verdict != "PASS" {
		os.Exit(1)
	}
}

// must ends the step if there is an error.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func equal(want, seen any) {
	if !reflect.DeepEqual(want, seen) {
		panic(fmt.Sprintf("wanted %s, saw %s", brief(want), brief(seen)))
	}
}

// until asks until it is so.
func until(what string, condition func() bool) {
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			panic("still not: " + what)
		}
	}
}

func brief(value any) string {
	text := strings.Join(strings.Fields(fmt.Sprint(value)), " ")
	if len(text) <= 300 {
		return text
	}
	return fmt.Sprintf("%s... (%d, %x)", text[:200], len(text), sha1.Sum([]byte(text)))
}
