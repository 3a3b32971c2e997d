package main

import (
	"fmt"
	"net/http"
	"os"

	"example.invalid/hello/internal/words"
)

var version = "unset"

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s %s as %d\n", words.Hello("go"), version, os.Getuid())
	})
	if err := http.ListenAndServe(":8080", nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
