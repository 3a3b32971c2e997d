// Package words has some.
package words

// Hello is what is said.
func Hello(who string) string { return "hello " + who }
