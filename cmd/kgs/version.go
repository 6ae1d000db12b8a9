package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the Makefile: -ldflags "-X main.version=...".
var version string

// buildVersion is the version of this binary, however it was built.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v // go install module@version
	}
	var revision, dirty string
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			revision = setting.Value[:min(12, len(setting.Value))]
		case setting.Key == "vcs.modified" && setting.Value == "true":
			dirty = "-dirty"
		}
	}
	if revision == "" {
		return "dev"
	}
	return revision + dirty
}

func newVersion() *cobra.Command {
	var as outputFormat
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "The version of this binary",
		Example: `  kgs version --format json`,
		Args:    wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := struct {
				Version string `json:"version"`
				Go      string `json:"go"`
				OS      string `json:"os"`
				Arch    string `json:"arch"`
			}{buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH}
			return as.output(cmd).print(v, func(t *table) { t.text("kgs %s %s %s/%s", v.Version, v.Go, v.OS, v.Arch) })
		},
	}
	as.register(cmd.Flags())
	return cmd
}
