package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"strings"
)

// slow reads a few rows of a large result, waits until it is told to go on, and reads the rest.
func slow(address string, args []string) {
	flags := flag.NewFlagSet("slow", flag.ExitOnError)
	size := flags.Int("mib", 256, "how large the result is, in rows of 1 MiB")
	must(flags.Parse(args))
	s, err := connect(config(address, "nat", "natpw"))
	must(err)
	defer s.end()
	s.run(fmt.Sprintf("set cte_max_recursion_depth = %d", *size))
	rows, err := s.QueryContext(background, fmt.Sprintf(
		"with recursive n(i) as (select 1 union all select i + 1 from n where i < %d)"+
			" select i, repeat(char(65 + i %% 26), 1048576) from n", *size))
	must(err)
	count := 0
	for rows.Next() {
		var i int
		var text string
		must(rows.Scan(&i, &text))
		count++
		equal(count, i)
		if len(text) != 1<<20 || strings.Count(text, string(rune(65+i%26))) != 1<<20 {
			panic(fmt.Sprintf("row %d is not as it should be", i))
		}
		if count == 3 {
			fmt.Println("await")
			if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
				panic(err)
			}
		}
	}
	must(rows.Err())
	equal(*size, count)
	equal("1", s.one("select 1"))
	fmt.Printf("PASS %d rows\n", count)
}
