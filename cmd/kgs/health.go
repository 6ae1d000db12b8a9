package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func newHealth() *cobra.Command {
	f := &clientFlags{}
	return f.register(&cobra.Command{
		Use:   "health",
		Short: "Whether a node is ready: exit code 0, or 2 and why not",
		Long: `Ask a node whether it can serve, as GET /readyz does: for health checks of
containers and scripts. With several addresses all of these nodes must be ready.`,
		Example: `  kgs health && echo ready`,
		Args:    wantArgs(),
		RunE: f.run(func(ctx context.Context, s *session, _ []string) error {
			web := &http.Client{Transport: &http.Transport{TLSClientConfig: f.tls}}
			defer web.CloseIdleConnections()
			for _, addr := range f.addrs {
				if err := askReady(ctx, web, addr); err != nil {
					return fmt.Errorf("%s is not ready: %w", addr, err)
				}
			}
			answer := struct {
				Ready []string `json:"ready"`
			}{f.addrs}
			return s.out.print(answer, func(t *table) {
				for _, addr := range f.addrs {
					t.row(addr, "ready")
				}
			})
		}),
	})
}
