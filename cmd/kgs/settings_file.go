package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fileEntry is one setting of a configuration file; fault is what is wrong with
// its value.
type fileEntry struct {
	name, value string
	line        int
	fault       error
}

// parseFile reads a configuration file: YAML, of which JSON is a part, one flat
// map from names to values. No value is interpreted here: the flags do that. A
// name that is there twice is a fault: which one counts?
func parseFile(data []byte) ([]fileEntry, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var file yaml.Node
	if err := decoder.Decode(&file); errors.Is(err, io.EOF) {
		return nil, nil // nothing but comments
	} else if err != nil {
		return nil, yamlError(err)
	}
	var more yaml.Node
	if err := decoder.Decode(&more); err == nil {
		return nil, fmt.Errorf("line %d: a second document begins; want one", more.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(err)
	}
	settings := file.Content[0]
	if settings.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: want settings, one a line, as node-id: n1", settings.Line)
	}
	var entries []fileEntry
	seen := map[string]int{}
	for i := 0; i < len(settings.Content); i += 2 {
		key, value := settings.Content[i], settings.Content[i+1]
		if first := seen[key.Value]; first != 0 {
			return nil, fmt.Errorf("line %d: %s is there twice, first in line %d", key.Line, key.Value, first)
		}
		seen[key.Value] = key.Line
		text, err := settingText(value)
		entries = append(entries, fileEntry{key.Value, text, key.Line, err})
	}
	return entries, nil
}

// yamlError takes the library's name off.
func yamlError(err error) error {
	return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
}

// settingText is a value as it would stand on the command line.
func settingText(value *yaml.Node) (string, error) {
	switch value.Kind {
	case yaml.ScalarNode:
		return scalarText(value)
	case yaml.SequenceNode:
		texts := make([]string, len(value.Content))
		for i, item := range value.Content {
			if item.Kind != yaml.ScalarNode {
				return "", errors.New("want a list of plain values")
			}
			var err error
			if texts[i], err = scalarText(item); err != nil {
				return "", err
			}
		}
		return strings.Join(texts, ","), nil
	case yaml.MappingNode:
		return "", errors.New("there are settings below it, but all stand side by side, each under the name of its flag")
	}
	return "", errors.New("want a value, not a reference to another one")
}

func scalarText(value *yaml.Node) (string, error) {
	switch value.ShortTag() {
	case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
		return value.Value, nil
	case "!!null":
		return "", errors.New("it has no value: give it one, or leave the key out")
	}
	return "", fmt.Errorf("a value of type %s: want a text, a number, true or false", value.Tag)
}
