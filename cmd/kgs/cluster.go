package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

func newCluster() *cobra.Command {
	f := &clientFlags{}
	return f.register(newGroup("cluster", "The cluster's state and its members",
		newClusterStatus(f), newClusterJoin(f), newClusterRemove(f), newClusterTransfer(f), newClusterRecover(f)))
}

func newClusterStatus(f *clientFlags) *cobra.Command {
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Who leads, who is healthy, and how many nodes may still be lost",
		Long: `Who leads, who is healthy, how far each node has come, and how many may still be
lost. With --watch, on a terminal, drawn again every 2 s until Ctrl-C; into a file
or a pipe a block for each change, with --format json a line.`,
		Example: `  kgs cluster status
  kgs cluster status --watch
  kgs cluster status --watch=10s --format json >>changes.jsonl`,
		Args: func(cmd *cobra.Command, args []string) error {
			if _, err := time.ParseDuration(strings.Join(args, "")); err == nil && every != 0 {
				return usageError(cmd, "write --watch=%s, with an equals sign", args[0])
			}
			if cmd.Flags().Changed("watch") && every < leastWatch {
				return usageError(cmd, "--watch=%s: want %s or more", every, leastWatch)
			}
			return wantArgs()(cmd, args)
		},
		RunE: f.run(func(ctx context.Context, s *session, _ []string) error {
			if every != 0 {
				return s.watchCluster(ctx, f, every)
			}
			status, err := s.ClusterStatus(ctx)
			if err != nil {
				return err
			}
			return s.out.print(status, func(t *table) { statusTable(t, status) })
		}),
	}
	cmd.Flags().DurationVar(&every, "watch", 0, "show it again and again, with so much time between")
	cmd.Flags().Lookup("watch").NoOptDefVal = watchEvery
	return cmd
}

func newClusterJoin(f *clientFlags) *cobra.Command {
	var node client.NewNode
	cmd := &cobra.Command{
		Use:   "join ID HOST:PORT",
		Short: "Take a node in that runs already; 'kgs serve --join' does so by itself",
		Long: `Take a node in that runs already, or tell the others its new address. HOST:PORT is
its --cluster-advertise. It votes once it has caught up.`,
		Example: `  kgs cluster join n4 10.0.0.4:9080 --http http://10.0.0.4:8080`,
		Args:    wantArgs("ID", "HOST:PORT"),
		RunE: f.run(func(ctx context.Context, s *session, args []string) error {
			node.ID, node.Cluster = args[0], args[1]
			if err := s.Join(ctx, node); err != nil {
				return err
			}
			fmt.Fprintf(s.cmd.ErrOrStderr(), "%s is a member; 'kgs cluster status' shows when it has caught up\n", node.ID)
			return nil
		}),
	}
	cmd.Flags().StringVar(&node.HTTP, "http", "", "`URL` of its HTTP front end")
	cmd.Flags().BoolVar(&node.NonVoter, "non-voter", false, "it stays a read replica")
	return cmd
}

func newClusterRemove(f *clientFlags) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "remove ID",
		Short: "Take a node out for good",
		Long: `Take a node out for good. It is refused if the healthy nodes that are left would be
no majority. With --force it is done all the same: no write, and no other removal,
happens then until enough of the others are back. The last voter always stays.`,
		Example:           `  kgs cluster remove n3`,
		Args:              wantArgs("ID"),
		ValidArgsFunction: f.completeFirst(askNodes),
		RunE: f.run(func(ctx context.Context, s *session, args []string) error {
			if err := s.Remove(ctx, args[0], force); err != nil {
				return err
			}
			fmt.Fprintf(s.cmd.ErrOrStderr(), "%s is no member any more; stop it, and empty its data directory before it joins again\n", args[0])
			return nil
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "also if no healthy majority is left")
	return cmd
}

func newClusterTransfer(f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "transfer-leader [ID]",
		Short: "Make another node the leader; without ID any that is up to date",
		Long: `Make another node the leader, as before its machine is taken down. No request fails,
and the keys in the old leader's memory are given back first.`,
		Example:           `  kgs cluster transfer-leader n2`,
		Args:              wantArgs("[ID]"),
		ValidArgsFunction: f.completeFirst(askNodes),
		RunE: f.run(func(ctx context.Context, s *session, args []string) error {
			to := ""
			if len(args) > 0 {
				to = args[0]
			}
			leader, err := s.Transfer(ctx, to)
			if err != nil {
				return err
			}
			answer := struct {
				Leader string `json:"leader"`
			}{leader}
			return s.out.print(answer, func(t *table) { t.row("leader", leader) })
		}),
	}
}
