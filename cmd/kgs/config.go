package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newConfig() *cobra.Command {
	return newGroup("config", "The settings of a node", newConfigPrint())
}

func newConfigPrint() *cobra.Command {
	f := &serveFlags{}
	settings := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	f.register(settings)
	var as outputFormat
	cmd := &cobra.Command{
		Use:   "print [flags of 'kgs serve']",
		Short: "What 'kgs serve' would make of flags, environment and file, and from where",
		Long: `Show each setting with its value and where that is from, as 'kgs serve' would find
them with the same flags, environment and file. The exit code is 1 if it would
refuse them.`,
		Example: `  kgs config print --config kgs.yaml`,
		Args:    wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := applySettings(settings)
			if err != nil {
				return err
			}
			rows, refused := effective(f, settings, from)
			if err := as.output(cmd).print(rows, func(t *table) { settingsTable(t, rows) }); err != nil {
				return err
			}
			if refused != nil {
				return fmt.Errorf("'kgs serve' would refuse this: %w", refused)
			}
			return nil
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().AddFlagSet(settings)
	as.register(cmd.Flags())
	return cmd
}

// setting is one row of 'kgs config print'.
type setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

// effective lists all settings, in the order of the help, with the defaults that
// follow from others; refused is what 'kgs serve' would say.
func effective(f *serveFlags, flags *pflag.FlagSet, from sources) (rows []setting, refused error) {
	c, refused := f.cluster()
	derived := map[string]string{
		"buffer-max":        strconv.Itoa(c.BufferMax),
		"cluster-advertise": c.ClusterAdvertise,
		"http-advertise":    f.scheme() + f.httpAddr,
	}
	flags.VisitAll(func(flag *pflag.Flag) {
		row := setting{flag.Name, flagText(flag), from.of(flag.Name)}
		if value, ok := derived[flag.Name]; ok && from[flag.Name] == "" {
			row.Value = value
		}
		rows = append(rows, row)
	})
	return rows, refused
}

func settingsTable(t *table, rows []setting) {
	t.head("SETTING", "VALUE", "SOURCE")
	for _, r := range rows {
		t.row(r.Name, r.Value, r.Source)
	}
}
