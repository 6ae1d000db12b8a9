package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// Settings come from, in this order: the command line, the environment
// (KGS_NODE_ID for --node-id), the configuration file, the defaults.

// configFlag names the configuration file; it cannot be in it.
const configFlag = "config"

// sources says by a flag's name where its value is from; what is not in it has
// its default.
type sources map[string]string

const fromFlag = "flag"

func (s sources) of(name string) string {
	if source := s[name]; source != "" {
		return source
	}
	return "default"
}

// applySettings fills in, from environment and file, the flags that the command
// line left out. Every fault says where it is.
func applySettings(flags *pflag.FlagSet) (sources, error) {
	from := sources{}
	var faults []error
	flags.VisitAll(func(flag *pflag.Flag) {
		name := envName(flag.Name)
		value := os.Getenv(name)
		switch {
		case flag.Changed:
			from[flag.Name] = fromFlag
		case value != "" && flag.Name != "help":
			from[flag.Name] = "env " + name
			if err := flags.Set(flag.Name, value); err != nil {
				faults = append(faults, fmt.Errorf("%s=%s: %w", name, value, cause(err)))
			}
		}
	})
	path, err := flags.GetString(configFlag)
	if err != nil {
		return nil, err
	}
	if path != "" {
		faults = append(faults, applyFile(flags, path, from))
	}
	return from, errors.Join(faults...)
}

func envName(flag string) string {
	return "KGS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// applyFile sets the flags that are in no earlier source.
func applyFile(flags *pflag.FlagSet, path string, from sources) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	entries, err := parseFile(data)
	if err != nil {
		return fmt.Errorf("configuration file %s: %w", path, err)
	}
	var faults []error
	for _, e := range entries {
		place := fmt.Sprintf("%s:%d", path, e.line)
		flag := flags.Lookup(e.name)
		switch {
		case flag == nil || e.name == configFlag || e.name == "help":
			faults = append(faults, fmt.Errorf("configuration file %s: unknown key %q; the keys are the flags of 'kgs help serve' without dashes in front", place, e.name))
		case e.fault != nil:
			faults = append(faults, fmt.Errorf("configuration file %s: %s: %w", place, e.name, e.fault))
		case from[e.name] != "":
		default:
			from[e.name] = "file " + place
			if err := flags.Set(e.name, e.value); err != nil {
				faults = append(faults, fmt.Errorf("configuration file %s: %s: %w", place, e.name, cause(err)))
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

// flagText is a flag's value as it would stand on the command line.
func flagText(flag *pflag.Flag) string {
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		return strings.Join(list.GetSlice(), ",")
	}
	return flag.Value.String()
}
