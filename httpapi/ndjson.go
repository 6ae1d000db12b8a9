package httpapi

import (
	"bufio"
	"bytes"
	"io"
)

const (
	maxLines = 10_000
	maxLine  = 64 << 10 // bytes: the longest link, with every character escaped, fits
)

// line is one line of a batch. data is only good until the next line is read.
type line struct {
	data []byte
	err  error // the line cannot be a link: blank, or too long
}

var (
	errBlankLine = invalidf("the line is blank")
	errLongLine  = refusef(kindBodyTooLarge, "the line has more than %d bytes", maxLine)
	errManyLines = refusef(kindBodyTooLarge, "more than %d lines", maxLines)
)

// readLines calls visit for each line, in order, blank ones at the end left
// out. A line ends with \n or \r\n, the last one perhaps with the input. It
// holds one line in memory. The error is errManyLines, or the reader's.
func readLines(input io.Reader, visit func(line)) error {
	reader := bufio.NewReaderSize(input, maxLine+2) // a line of maxLine bytes with \r\n fits
	count, blanks := 0, 0
	for {
		data, err := reader.ReadSlice('\n')
		long := err == bufio.ErrBufferFull
		for err == bufio.ErrBufferFull {
			_, err = reader.ReadSlice('\n')
		}
		if err != nil && err != io.EOF {
			return err
		}
		atEnd := err == io.EOF
		next := checkLine(data, long)
		if next.err == errBlankLine {
			blanks++
		} else {
			if count += blanks + 1; count > maxLines {
				return errManyLines
			}
			for ; blanks > 0; blanks-- {
				visit(line{err: errBlankLine})
			}
			visit(next)
		}
		if atEnd {
			return nil
		}
	}
}

func checkLine(data []byte, long bool) line {
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	switch {
	case long || len(data) > maxLine:
		return line{err: errLongLine}
	case len(bytes.TrimSpace(data)) == 0:
		return line{err: errBlankLine}
	}
	return line{data: data}
}
