package main

import (
	"bufio"
	"errors"
	"os"
)

// rejects is the file of the rows that were refused; nil: there is none.
type rejects struct {
	entries entryReader
	path    string
	file    *os.File
	w       *bufio.Writer
	count   int
}

func createRejects(path string, entries entryReader) (*rejects, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	r := &rejects{entries: entries, path: path, file: file, w: bufio.NewWriter(file)}
	_, err = r.w.Write(entries.header())
	return r, err
}

func (r *rejects) add(e entry, reason string) error {
	r.count++
	_, err := r.w.Write(r.entries.reject(e, reason))
	return err
}

// close leaves no file without rows.
func (r *rejects) close() error {
	if r == nil {
		return nil
	}
	err := errors.Join(r.w.Flush(), r.file.Close())
	if r.count == 0 {
		err = errors.Join(err, os.Remove(r.path))
	}
	return err
}
