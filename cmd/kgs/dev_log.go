package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strings"
	"time"
)

const (
	logPoll      = 300 * time.Millisecond
	logLastLines = 8
	logLastBytes = 16 << 10
)

// logTail reads the log of a node, from where its present process began.
type logTail struct {
	path string
	from int64
}

// follow calls emit with every line that reports an error, until ended.
func (l *logTail) follow(ended <-chan struct{}, emit func(line string)) {
	file, err := os.Open(l.path)
	if err != nil {
		return // its last lines are lost too; nothing else hangs on it
	}
	defer file.Close()
	if _, err := file.Seek(l.from, io.SeekStart); err != nil {
		return
	}
	reader, line := bufio.NewReader(file), []byte(nil)
	tick := time.NewTicker(logPoll)
	defer tick.Stop()
	for over := false; ; {
		for {
			more, err := reader.ReadSlice('\n')
			if line = append(line, more[:min(len(more), logLastBytes)]...); err == bufio.ErrBufferFull {
				continue
			}
			if err != nil { // the end, for now: perhaps in the middle of a line
				break
			}
			if reportsError(line) {
				emit(string(bytes.TrimSpace(line)))
			}
			line = line[:0]
		}
		if over {
			return
		}
		select {
		case <-tick.C:
		case <-ended:
			over = true
		}
	}
}

// reportsError finds hclog's two formats.
func reportsError(line []byte) bool {
	return bytes.Contains(line, []byte("[ERROR]")) || bytes.Contains(line, []byte(`"@level":"error"`))
}

// last is the end of the log.
func (l *logTail) last() []string {
	file, err := os.Open(l.path)
	if err != nil {
		return nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	from := max(l.from, info.Size()-logLastBytes)
	data, err := io.ReadAll(io.NewSectionReader(file, from, logLastBytes))
	if err != nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if lines[0] == "" {
		return nil
	}
	return lines[max(0, len(lines)-logLastLines):]
}
