// Command cmd writes the page about the results in a directory:
//
//	go run ./test/report/cmd DIR > report.html
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/kgs-cluster/kgs/test/report"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	if len(args) != 1 {
		return errors.New("want the directory with the results")
	}
	results, err := report.Load(args[0])
	if err != nil {
		return err
	}
	w := bufio.NewWriter(stdout)
	return errors.Join(report.Render(w, results), w.Flush())
}
