package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// Settings come from, in this order: the command line, the environment
// (KGS_NODE_ID for --node-id), the configuration file, the defaults.

// configFlag names the configuration file; it cannot be in it.
const configFlag = "config"

// applySettings fills in, from environment and file, the flags that the command
// line left out. Every fault says where it is.
func applySettings(flags *pflag.FlagSet) error {
	var faults []error
	flags.VisitAll(func(flag *pflag.Flag) {
		value, set := os.LookupEnv(envName(flag.Name))
		if !set || value == "" || flag.Changed || flag.Name == "help" {
			return
		}
		if err := flags.Set(flag.Name, value); err != nil {
			faults = append(faults, fmt.Errorf("%s=%s: %w", envName(flag.Name), value, cause(err)))
		}
	})
	path, err := flags.GetString(configFlag)
	if err != nil {
		return err
	}
	if path != "" {
		faults = append(faults, applyFile(flags, path))
	}
	return errors.Join(faults...)
}

func envName(flag string) string {
	return "KGS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// applyFile sets the flags that are not set yet from a JSON object.
func applyFile(flags *pflag.FlagSet, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	pairs, err := readPairs(data)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = errors.New("it ends in the middle")
	}
	if err != nil {
		return fmt.Errorf("configuration file %s: %w", path, err)
	}
	var faults []error
	for _, pair := range pairs {
		flag := flags.Lookup(pair.name)
		switch {
		case flag == nil || pair.name == configFlag || pair.name == "help":
			faults = append(faults, fmt.Errorf("configuration file %s: unknown key %q; the keys are the flags of 'kgs help serve' without dashes in front", path, pair.name))
		case flag.Changed:
		default:
			if err := flags.Set(pair.name, pair.value); err != nil {
				faults = append(faults, fmt.Errorf("configuration file %s: %s: %w", path, pair.name, cause(err)))
			}
		}
	}
	return errors.Join(faults...)
}

// cause takes pflag's frame off the error of a flag's value.
func cause(err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return invalid.Unwrap()
	}
	return err
}

type pair struct{ name, value string }

// readPairs reads a JSON object of strings, numbers, booleans and lists of
// strings. A name that is there twice is a fault: which one counts?
func readPairs(data []byte) ([]pair, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, errors.New(`want a JSON object, as {"node-id": "n1"}`)
	}
	var pairs []pair
	seen := map[string]bool{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var value any
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		text, err := settingText(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if seen[name.(string)] {
			return nil, fmt.Errorf("%s is there twice", name)
		}
		seen[name.(string)] = true
		pairs = append(pairs, pair{name.(string), text})
	}
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	return pairs, nil
}

// settingText is a value as it would stand on the command line.
func settingText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return fmt.Sprint(v), nil
	case []any:
		var texts []string
		for _, item := range v {
			text, ok := item.(string)
			if !ok {
				return "", errors.New("want a list of strings")
			}
			texts = append(texts, text)
		}
		return strings.Join(texts, ","), nil
	}
	return "", errors.New("want a string, a number, true, false or a list of strings")
}
