package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

func newToken() *cobra.Command {
	f := &clientFlags{}
	return f.register(newGroup("token", "The tokens that clients of the cluster need",
		newTokenCreate(f), newTokenList(f), newTokenRevoke(f)))
}

func newTokenCreate(f *clientFlags) *cobra.Command {
	var token client.NewToken
	cmd := &cobra.Command{
		Use:   "create --role ROLE",
		Short: "Make a token; it is shown only this once",
		Long: `Make a token; it is shown only this once. What the roles may do, each what those
above it may, too:

  read   look at keys, links, key spaces, the cluster and its metrics
  keys   take and return keys
  write  create, change and delete links
  admin  everything: members, backups, tokens`,
		Example: `  kgs token create --role write --name shop
  kgs token create --role keys --name worker --ttl 720h --format json`,
		Args: wantArgs(),
	}
	cmd.Flags().StringVar(&token.Role, "role", "", "`ROLE`: read, keys, write or admin")
	cmd.Flags().StringVar(&token.Name, "name", "", "whose it is: tokens of one name own the same links and keys")
	cmd.Flags().Uint64Var(&token.MaxLinks, "max-links", 0, "links that the owner may have when this token makes another one (default any)")
	cmd.Flags().DurationVar(&token.TTL, "ttl", 0, "how long it is valid, as 720h (default for ever)")
	create := f.run(func(ctx context.Context, s *session, _ []string) error {
		made, err := s.CreateToken(ctx, token)
		if err != nil {
			return err
		}
		return s.out.print(made, func(t *table) {
			t.row("token", made.Text)
			t.row("id", made.ID)
			t.row("role", made.Role)
			t.row("name", made.Name)
			t.row("expires", expiry(made))
		})
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if token.Role == "" {
			return usageError(cmd, "say with --role what it may do: read, keys, write or admin")
		}
		if cmd.Flags().Changed("ttl") && token.TTL <= 0 {
			return usageError(cmd, "--ttl %s: want more than 0", token.TTL)
		}
		return create(cmd, args)
	}
	return cmd
}

func newTokenList(f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "All tokens, without their secrets",
		Example: `  kgs token list`,
		Args:    wantArgs(),
		RunE: f.run(func(ctx context.Context, s *session, _ []string) error {
			tokens, err := s.Tokens(ctx)
			if err != nil {
				return err
			}
			return s.out.print(map[string]any{"tokens": tokens}, func(t *table) {
				t.head("ID", "ROLE", "NAME", "CREATED", "EXPIRES")
				for _, token := range tokens {
					t.row(token.ID, token.Role, free(token.Name), when(token.CreatedAt), expiry(token))
				}
			})
		}),
	}
}

func newTokenRevoke(f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Make a token invalid for good",
		Long: `Make a token invalid for good. Links and keys stay their owner's, whose other tokens
go on. The last admin token that is valid cannot be revoked.`,
		Example: `  kgs token list         # shows the ids
  kgs token revoke ID`,
		Args:              wantArgs("ID"),
		ValidArgsFunction: f.completeFirst(askTokens),
		RunE: f.run(func(ctx context.Context, s *session, args []string) error {
			if err := s.RevokeToken(ctx, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(s.cmd.ErrOrStderr(), "revoked %s\n", args[0])
			return nil
		}),
	}
}

func expiry(t client.Token) string {
	switch {
	case t.ExpiresAt.IsZero():
		return "never"
	case !time.Now().Before(t.ExpiresAt):
		return "has expired"
	}
	return when(t.ExpiresAt)
}
