package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// terminal is what is known of where output goes. The zero value is no terminal,
// but a file or a pipe: nothing is shortened, coloured or drawn over there.
type terminal struct {
	is            bool
	width, height int // 0: not known
	colour        bool
}

func terminalOf(w io.Writer) terminal {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return terminal{}
	}
	t := terminal{is: true, colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"} // https://no-color.org
	t.width, t.height, _ = term.GetSize(int(file.Fd()))                                         // 0 will do
	return t
}

// style is how a text stands out: parameters of the terminal's SGR command.
type style string

const (
	plain style = ""
	bold  style = "1"
	faint style = "2"
	good  style = "32"
	tight style = "33"
	bad   style = "31"
)

func (t terminal) paint(s style, text string) string {
	if !t.colour || s == plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}
