package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

func newLinks() *cobra.Command {
	f := &clientFlags{}
	return f.register(newGroup("links", "Create, look at, change, delete, import and export short links",
		newLinksCreate(f), newLinksGet(f), newLinksStats(f), newLinksUpdate(f), newLinksList(f), newLinksDelete(f),
		newLinksImport(f), newLinksExport(f), newLinksWatch(f)))
}

func newLinksCreate(f *clientFlags) *cobra.Command {
	var link client.NewLink
	cmd := &cobra.Command{
		Use:   "create URL",
		Short: "Make a short link",
		Long: `Make a short link, under a key that nobody else gets, or an alias. It stands when
the command ends: most nodes have it on disk.`,
		Example: `  kgs links create https://go.dev/
  kgs links create https://go.dev/ --alias golang --title "The Go language" --tag go
  kgs links create https://go.dev/blog/ --ttl 24h --max-visits 100`,
		Args: wantArgs("URL"),
		RunE: f.run(func(ctx context.Context, s *session, args []string) error {
			link.URL = args[0]
			created, err := s.CreateLink(ctx, link)
			if err != nil {
				return err
			}
			return s.printLink(created)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&link.Alias, "alias", "", "the key to have, instead of a generated one")
	flags.StringVar(&link.Title, "title", "", "shown in lists")
	flags.StringArrayVar(&link.Tags, "tag", nil, "may be given several times")
	flags.IntVar(&link.Redirect, "redirect", 0, "status of the redirect: 301, 302, 307 or 308 (default 302)")
	flags.StringVar(&link.TTL, "ttl", "", "how long it redirects, as 24h")
	flags.Var((*instant)(&link.ExpiresAt), "expires-at", "`TIME` from which on it does not redirect, as 2027-01-31T12:00:00Z")
	flags.Var((*instant)(&link.NotBefore), "not-before", "`TIME` before which it does not redirect")
	flags.IntVar(&link.MaxVisits, "max-visits", 0, "how often it redirects")
	flags.BoolVar(&link.ForwardQuery, "forward-query", false, "a redirect takes the query of the request along")
	flags.BoolVar(&link.FindIfExists, "find-if-exists", false, "show the link that does the same, if there is one, instead of making another")
	return cmd
}

// instant is the value of a flag that is a time.
type instant time.Time

func (t *instant) Type() string { return "TIME" }

func (t *instant) String() string {
	if time.Time(*t).IsZero() {
		return ""
	}
	return time.Time(*t).Format(time.RFC3339)
}

func (t *instant) Set(text string) error {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return fmt.Errorf("want date, time and zone, as %s", time.Now().AddDate(0, 1, 0).UTC().Format(time.RFC3339))
	}
	*t = instant(at)
	return nil
}

func newLinksGet(f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "get KEY",
		Short:   "Show a link",
		Example: `  kgs links get golang`,
		Args:    wantArgs("KEY"),
		RunE: f.run(func(ctx context.Context, s *session, args []string) error {
			link, err := s.GetLink(ctx, args[0])
			if err != nil {
				return err
			}
			return s.printLink(link)
		}),
	}
}

func newLinksStats(f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "stats KEY",
		Short: "Show how often a link was followed",
		Long: `Show how often a link was followed, in all and on each of the last days (UTC), and
by whom. The visits of the last second are not there yet.`,
		Example: `  kgs links stats golang`,
		Args:    wantArgs("KEY"),
		RunE: f.run(func(ctx context.Context, s *session, args []string) error {
			stats, err := s.LinkStats(ctx, args[0])
			if err != nil {
				return err
			}
			return s.out.print(stats, func(t *table) {
				t.row("visits", stats.Visits)
				t.row("of bots", stats.Bots)
				if !stats.LastVisit.IsZero() {
					t.row("last", when(stats.LastVisit))
				}
				for _, day := range stats.Days[max(0, len(stats.Days)-shownDays):] {
					t.row(day.Date, day.Visits)
				}
				for _, list := range []struct {
					title string
					names []client.NamedVisits
				}{{"from", stats.Referrers}, {"browser", stats.Browsers}, {"system", stats.Systems}} {
					for _, n := range list.names[:min(len(list.names), shownNames)] {
						t.row(list.title+" "+n.Name, n.Visits)
					}
				}
			})
		}),
	}
}

// What the table of a link's visits shows; --format json has all.
const shownDays, shownNames = 14, 5

func newLinksUpdate(f *clientFlags) *cobra.Command {
	var url, title string
	var tags []string
	var redirect, maxVisits int
	var ttl, expiresAt, notBefore string
	var forward bool
	cmd := &cobra.Command{
		Use:   "update KEY",
		Short: "Change a link's target, title, tags, redirect or limits",
		Long:  `Change what is given; "" clears a title, tags or a time, 0 a limit of visits.`,
		Example: `  kgs links update golang --url https://go.dev/doc/ --tag go --tag doc
  kgs links update golang --title ""`,
		Args: wantArgs("KEY"),
	}
	flags := cmd.Flags()
	flags.StringVar(&url, "url", "", "the new target")
	flags.StringVar(&title, "title", "", "the new title")
	flags.StringArrayVar(&tags, "tag", nil, "the new tags, all of them; may be given several times")
	flags.IntVar(&redirect, "redirect", 0, "301, 302, 307 or 308")
	flags.StringVar(&ttl, "ttl", "", "how long it redirects from now on, as 24h")
	flags.StringVar(&expiresAt, "expires-at", "", "`TIME` from which on it does not redirect, as 2027-01-31T12:00:00Z")
	flags.StringVar(&notBefore, "not-before", "", "`TIME` before which it does not redirect")
	flags.IntVar(&maxVisits, "max-visits", 0, "how often it redirects in all")
	flags.BoolVar(&forward, "forward-query", false, "a redirect takes the query of the request along; --forward-query=false: no more")
	update := func(change client.LinkChange) action {
		return func(ctx context.Context, s *session, args []string) error {
			link, err := s.UpdateLink(ctx, args[0], change)
			if err != nil {
				return err
			}
			return s.printLink(link)
		}
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var change client.LinkChange
		if len(tags) == 1 && tags[0] == "" {
			tags = nil
		}
		given(flags, "url", &change.URL, &url)
		given(flags, "title", &change.Title, &title)
		given(flags, "tag", &change.Tags, &tags)
		given(flags, "redirect", &change.Redirect, &redirect)
		given(flags, "ttl", &change.TTL, &ttl)
		given(flags, "expires-at", &change.ExpiresAt, &expiresAt)
		given(flags, "not-before", &change.NotBefore, &notBefore)
		given(flags, "max-visits", &change.MaxVisits, &maxVisits)
		given(flags, "forward-query", &change.ForwardQuery, &forward)
		if change == (client.LinkChange{}) {
			return usageError(cmd, "nothing to change: give --url, --title, --tag, --redirect, --ttl, --expires-at, --not-before, --max-visits or --forward-query")
		}
		return f.run(update(change))(cmd, args)
	}
	return cmd
}

// given sets a field if its flag was given.
func given[T any](flags *pflag.FlagSet, name string, field **T, value *T) {
	if flags.Changed(name) {
		*field = value
	}
}

func newLinksDelete(f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "delete KEY",
		Short:   "Delete a link; its key is never issued again",
		Example: `  kgs links delete golang`,
		Args:    wantArgs("KEY"),
		RunE: f.run(func(ctx context.Context, s *session, args []string) error {
			if err := s.DeleteLink(ctx, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(s.cmd.ErrOrStderr(), "deleted %s\n", args[0])
			return nil
		}),
	}
}

func newLinksList(f *clientFlags) *cobra.Command {
	var query client.LinkQuery
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List links, in the order of their keys",
		Example: `  kgs links list --tag go
  kgs links list --query go.dev --limit 1000 --format json`,
		Args: wantArgs(),
	}
	list := f.run(func(ctx context.Context, s *session, _ []string) error {
		page, err := s.collect(ctx, query)
		if err != nil {
			return err
		}
		err = s.out.print(page, func(t *table) {
			t.head("KEY", "URL", "CREATED", "TAGS", "TITLE")
			for _, link := range page.Links {
				t.row(link.Key, free(link.URL), when(link.CreatedAt), free(strings.Join(link.Tags, ",")), free(link.Title))
			}
		})
		if err == nil && page.NextCursor != "" && !s.out.json {
			fmt.Fprintf(s.cmd.ErrOrStderr(), "there may be more: --cursor %s\n", page.NextCursor)
		}
		return err
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if query.Limit < 1 {
			return usageError(cmd, "--limit %d: want 1 or more", query.Limit)
		}
		return list(cmd, args)
	}
	flags := cmd.Flags()
	flags.IntVar(&query.Limit, "limit", 100, "at most so many; 'kgs links export' has them all")
	flags.StringVar(&query.Cursor, "cursor", "", "of the list before: go on from there")
	flags.StringVar(&query.Tag, "tag", "", "only links with this tag")
	flags.StringVar(&query.Text, "query", "", "only links with this text in key, URL, title or a tag")
	return cmd
}

// maxPage is how many links a page of the API may have.
const maxPage = 1000

// collect asks for pages until there are query.Limit links or no more.
func (s *session) collect(ctx context.Context, query client.LinkQuery) (client.LinkPage, error) {
	all := client.LinkPage{Links: []client.Link{}}
	for want := query.Limit; ; {
		query.Limit = min(want-len(all.Links), maxPage)
		if query.Limit < 1 {
			return all, nil
		}
		page, err := s.ListLinks(ctx, query)
		if err != nil {
			return all, err
		}
		all.Links = append(all.Links, page.Links...)
		all.NextCursor, query.Cursor = page.NextCursor, page.NextCursor
		if page.NextCursor == "" {
			return all, nil
		}
	}
}

func (s *session) printLink(link client.Link) error {
	return s.out.print(link, func(t *table) {
		t.row("key", link.Key)
		t.row("short url", link.ShortURL)
		t.row("url", link.URL)
		t.row("redirect", link.Redirect)
		t.row("created", when(link.CreatedAt))
		if !link.UpdatedAt.IsZero() {
			t.row("updated", when(link.UpdatedAt))
		}
		if link.Title != "" {
			t.row("title", link.Title)
		}
		if len(link.Tags) > 0 {
			t.row("tags", strings.Join(link.Tags, ", "))
		}
		if !link.NotBefore.IsZero() {
			t.row("not before", when(link.NotBefore))
		}
		if !link.ExpiresAt.IsZero() {
			t.row("expires", when(link.ExpiresAt))
		}
		if link.MaxVisits != 0 {
			t.row("visits", fmt.Sprintf("%d of %d", link.Visits, link.MaxVisits))
		}
		if link.ForwardQuery {
			t.row("query", "goes along")
		}
	})
}
