package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// TestImportFormats: what other services write, as they write it.
func TestImportFormats(t *testing.T) {
	for name, tt := range map[string]struct {
		file string
		want []string // as show has them
	}{
		"shlink web client": {
			"createdAt,domain,shortCode,shortUrl,longUrl,title,tags,visits\r\n" +
				"2024-05-01T10:00:00+02:00,s.test,abc12,https://s.test/abc12,https://a.example/,\"One, \"\"two\"\"\",news|mail,7\r\n" +
				"2024-05-01T10:00:00+02:00,s.test,b/c,https://s.test/b/c,https://b.example/,,,0\r\n",
			[]string{`2 https://a.example/ abc12|One, "two"|news,mail|0`, "3 https://b.example/ b/c|||0"},
		},
		"shlink web client of old": {
			"createdAt,shortUrl,longUrl,title,tags,visits\n2021,https://s.test/abc12,https://a.example/,,\"news,mail\",7\n",
			[]string{"2 https://a.example/ abc12||news,mail|0"},
		},
		"shlink importer": {
			"Long URL;Short code;Domain;Title;Tags\nhttps://a.example/;abc12;;One;news|mail\n",
			[]string{"2 https://a.example/ abc12|One|news,mail|0"},
		},
		"shlink API": {
			`{"shortUrls":{"data":[` + "\n" + `{"shortCode":"abc12","shortUrl":"https://s.test/abc12","longUrl":"https:\/\/a.example\/","dateCreated":"2024","visitsSummary":{"total":7},
				"tags":["news, mail","x"],"meta":{"validSince":null,"validUntil":"2030-01-01T00:00:00+00:00","maxVisits":5},"domain":null,"title":null,"crawlable":false},` + "\n" +
				`{"shortCode":"b","longUrl":"https://b.example/"}],"pagination":{"currentPage":1}}}`,
			[]string{"2 https://a.example/ abc12||news, mail,x|0", "4 https://b.example/ b|||0"},
		},
		"yourls table": {
			"keyword,url,title,timestamp,ip,clicks\n1,https://a.example/,NULL,2024-05-01 12:00:00,127.0.0.1,7\n",
			[]string{"2 https://a.example/ 1|||0"},
		},
		"yourls mysql --batch": {
			"keyword\turl\ttitle\ttimestamp\tip\tclicks\nk\thttps://a.example/\tOne, two\t2024-05-01 12:00:00\t127.0.0.1\t7\n",
			[]string{"2 https://a.example/ k|One, two||0"},
		},
		"yourls plugin": {
			"source,target,hits\r\n/k/,https://a.example/,7\r\n",
			[]string{"2 https://a.example/ k|||0"},
		},
		"yourls API": {
			`{"links":{"link_1":{"shorturl":"https:\/\/s.test\/k","url":"https:\/\/a.example\/","title":"One","timestamp":"2024-05-01 12:00:00","ip":"127.0.0.1","clicks":"7"},
				"link_2":{"shorturl":"https:\/\/s.test\/l","url":"https:\/\/b.example\/","title":"","clicks":"0"}},"stats":{"total_links":"2","total_clicks":"7"},"statusCode":200}`,
			[]string{"1 https://a.example/ k|One||0", "2 https://b.example/ l|||0"},
		},
		"yourls phpMyAdmin JSON": {
			"[\n{\"type\":\"header\",\"version\":\"5.2.1\"},\n{\"type\":\"database\",\"name\":\"yourls\"},\n" +
				"{\"type\":\"table\",\"name\":\"yourls_options\",\"data\":[{\"option_id\":\"1\",\"option_name\":\"v\"}]},\n" +
				"{\"type\":\"table\",\"name\":\"yourls_url\",\"data\":\n[\n{\"keyword\":\"k\",\"url\":\"https:\\/\\/a.example\\/\",\"title\":null,\"clicks\":\"7\"}\n]\n}\n]\n",
			[]string{"7 https://a.example/ k|||0"},
		},
		"bitly API": {
			`{"links":[{"created_at":"2024-05-01T12:00:00+0000","id":"bit.ly/3abC","link":"https://bit.ly/3abC","custom_bitlinks":["https://bit.ly/sale"],"long_url":"https://a.example/",
				"title":"One","archived":false,"tags":["news","mail"],"deeplinks":[{"app_id":"x"}],"references":{"group":"https://api-ssl.bitly.com/v4/groups/B"}}],"pagination":{"next":"","size":50}}
			{"links":[{"link":"https://bit.ly/4x","custom_bitlinks":[],"long_url":"https://b.example/","tags":[]}]}`,
			[]string{"1 https://a.example/ sale|One|news,mail|0", "3 https://b.example/ 4x|||0"},
		},
		"bitly links alone": {
			`[{"link":"http://bit.ly/4x","long_url":"https://b.example/"}]`, []string{"1 https://b.example/ 4x|||0"},
		},
		"bitly CSV": {
			"Bitlink,Long URL,Title,Tags,Created\nbit.ly/3abC,https://a.example/,One,\"news, mail\",2024-05-01\nhttps://bit.ly/,https://b.example/,,,\n",
			[]string{"2 https://a.example/ 3abC|One|news,mail|0", "3 ! it has no short code to keep"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, o := range []importOptions{{keepCodes: true}, {keepCodes: true, from: strings.Fields(name)[0]}} {
				_, entries, err := readEntries(strings.NewReader("\ufeff"+tt.file), o)
				got := strings.Split(strings.TrimSuffix(showAll(entries), "\n"), "\n")
				if err != nil || !reflect.DeepEqual(got, tt.want) {
					t.Errorf("%+v: %v, got %q, want %q", o, err, got, tt.want)
				}
			}
			if _, entries, _ := readEntries(strings.NewReader(tt.file), importOptions{}); entries[0].link.Alias != "" {
				t.Errorf("without --keep-codes: %+v", entries[0])
			}
		})
	}
}

func TestImportLimits(t *testing.T) {
	_, entries, err := readEntries(strings.NewReader(`{"longUrl":"http://a/","meta":{"validSince":"2029-01-01T01:00:00+01:00","validUntil":"2030-01-01T00:00:00Z","maxVisits":5}}`), importOptions{from: "shlink"})
	if err != nil || entries[0].fault != nil {
		t.Fatal(err, entries)
	}
	l := entries[0].link
	if got := fmt.Sprint(l.NotBefore.UTC(), l.ExpiresAt, l.MaxVisits); got != "2029-01-01 00:00:00 +0000 UTC 2030-01-01 00:00:00 +0000 UTC 5" {
		t.Error(got)
	}
}

// TestImportForwarding: links of Shlink forward queries where nothing else is said.
func TestImportForwarding(t *testing.T) {
	for file, want := range map[string]bool{
		"shortCode,longUrl\na,https://a.example/\n":                                 true,
		`{"shortUrls":{"data":[{"shortCode":"a","longUrl":"https://a.example/"}]}}`: true,
		`{"shortCode":"a","longUrl":"https://a.example/","forwardQuery":true}`:      true,
		`{"shortCode":"a","longUrl":"https://a.example/","forwardQuery":false}`:     false,
		"keyword,url\na,https://a.example/\n":                                       false,
		`{"url":"https://a.example/"}`:                                              false,
		`{"url":"https://a.example/","forward_query":true}`:                         true,
	} {
		_, entries, err := readEntries(strings.NewReader(file), importOptions{})
		if err != nil || entries[0].fault != nil || entries[0].link.ForwardQuery != want {
			t.Errorf("%s: %v, %+v", file, err, entries[0])
		}
	}
}

// TestImportHeadless: phpMyAdmin leaves the column names out.
func TestImportHeadless(t *testing.T) {
	file := "\"k\",\"https://a.example/\",\"One\",\"2024-05-01 12:00:00\",\"127.0.0.1\",\"7\"\n\"l\",\"https://b.example/\",NULL,\"\",\"\",\"0\"\n"
	_, entries, err := readEntries(strings.NewReader(file), importOptions{from: "yourls", keepCodes: true})
	if got := showAll(entries); err != nil || got != "1 https://a.example/ k|One||0\n2 https://b.example/ l|||0\n" {
		t.Errorf("%v, %q", err, got)
	}
}

// TestImportBadQuotes: a quote that is not closed costs its own row only.
func TestImportBadQuotes(t *testing.T) {
	file := "url,title\nhttp://a/,\"open\nhttp://b/,B\nhttp://c/,\"C, \"\"c\"\"\"\nhttp://d/,\"D\nd\"\nhttp://e/,x\"y\nhttp://f/,\"z\"z\nhttp://g/,\"end"
	_, entries, err := readEntries(strings.NewReader(file), importOptions{})
	want := "2 ! \n3 http://b/ |B||0\n4 http://c/ |C, \"c\"||0\n5 http://d/ |D\nd||0\n7 ! bare \" in non-quoted-field\n8 ! extraneous or missing \" in quoted-field\n9 ! a quote is opened and not closed"
	for i, line := range strings.Split(strings.ReplaceAll(want, "D\nd", "D\x00d"), "\n") {
		if line = strings.ReplaceAll(line, "\x00", "\n"); i >= len(entries) || !strings.HasPrefix(show(entries[i]), line) {
			t.Errorf("entry %d: want %q", i, line)
		}
	}
	if err != nil || len(entries) != 7 {
		t.Errorf("%v\n%s", err, showAll(entries))
	}
}

func TestImportFileFaults(t *testing.T) {
	for _, tt := range []struct{ from, file, want string }{
		{"", "\xff\xfeu\x00r\x00l\x00", "save it as UTF-8"},
		{"csv", "address,title\nhttp://a/,A\n", "line 1: it should name the columns: want url or the like"},
		{"shlink", "\nurl,title\n", "line 2: it should name the columns: want longurl, shortcode, shorturl or the like"},
		{"bitly", "http://a/\n", "line 1: it should name the columns"},
		{"", "[1, 2]", "line 1: JSON, but of what?"},
		{"bitly", "{\"links\":[{\"long_url\":\"http://a/\"},\n{\"long_url\":", "line 2: not JSON: unexpected EOF"},
		{"bitly", "[\n{\"long_url\":\"http://a/\"} x", "line 2: not JSON: invalid character 'x'"},
	} {
		if _, _, err := readEntries(strings.NewReader(tt.file), importOptions{from: tt.from}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q as %q: %v", tt.file, tt.from, err)
		}
	}
}

// TestImportRejects: what was refused comes in a file that is corrected and
// imported, and refused again as long as it is not.
func TestImportRejects(t *testing.T) {
	long := strings.Repeat("x", maxImportLine+1)
	for name, tt := range map[string]struct{ file, from, rejects, bad, good string }{
		"URLs": {"http://a/\nftp://b/\n\xff\n", "", "reason,url\n" +
			"line 2: invalid_url: Bad URL,ftp://b/\nline 3: it is not UTF-8,\xff\n", "ftp://b/", "http://b/"},
		"JSON lines": {`{"url":"http://a/"}` + "\n" + `{"url":"ftp://b/","title":"B"}` + "\n{\"url\n{}\n", "",
			`{"reason":"line 2: invalid_url: Bad URL","url":"ftp://b/","title":"B"}` + "\n" +
				`{"reason":"line 3: not a link in JSON: unexpected EOF"}` + "\n{\"url\n" +
				`{"reason":"line 4: invalid_url: Bad URL"}` + "\n{}\n", "ftp://b/", "http://b/"},
		"CSV": {"url,title\nhttp://a/,A\nftp://b/,\"B, \"\"b\"\"\n2\"\nhttp://c/\nhttp://d/,\"open\n", "", "reason,url,title\n" +
			"line 3: invalid_url: Bad URL,ftp://b/,\"B, \"\"b\"\"\n2\"\n" +
			"\"line 5: 1 cells, the header has 2\",http://c/\n" +
			"\"line 6: " + strings.ReplaceAll(errOpenQuote.Error(), `"`, `""`) + "\",http://d/,\"open\n", "ftp://b/", "http://b/"},
		"yourls": {"k;http://a/;;;;\nl;ftp://b/;;;;\n", "yourls", "reason;keyword;url;title;timestamp;ip;clicks\n" +
			"line 2: invalid_url: Bad URL;l;ftp://b/;;;;\n", "ftp://b/", "http://b/"},
		"bitly JSON": {`{"links":[{"long_url":"ftp://b/","link":"https://bit.ly/b"}]}`, "",
			`{"reason":"line 1: invalid_url: Bad URL","link":"https://bit.ly/b","long_url":"ftp://b/"}` + "\n", "ftp://b/", "http://b/"},
		"long line": {"url\n" + long + "\n", "", "reason,url\nline 2: the line has more than 65536 bytes," + long + "\n", long, "http://b/"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newLinkAPI(t, healthy)
			file, dir := writeFile(t, tt.file), t.TempDir()
			imports := func(file, rejects string) (result, string) {
				rejects = filepath.Join(dir, rejects)
				got := kgs(t, "", "links", "import", file, "--from", tt.from, "--keep-codes", "--rejects", rejects, "--addr", s.url)
				text, _ := os.ReadFile(rejects)
				return got, string(text)
			}
			got, rejected := imports(file, "1")
			if rejected != tt.rejects || got.code != exitServer || !strings.Contains(got.stderr, "correct them in "+filepath.Join(dir, "1")) {
				t.Errorf("%+v\nrejected %q\nwant     %q", got, rejected, tt.rejects)
			}
			if got, again := imports(filepath.Join(dir, "1"), "2"); got.code != exitServer || withoutLines(again) != withoutLines(tt.rejects) && tt.bad != long {
				t.Errorf("again %+v\nrejected %q\nwant     %q", got, again, tt.rejects)
			}
			if got, again := imports(writeFile(t, strings.ReplaceAll(rejected, tt.bad, tt.good)), "3"); !strings.Contains(got.stdout, "\thttp://b/\n") || strings.Contains(again, tt.good) {
				t.Errorf("corrected %+v\nrejected %q", got, again)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		rejects := filepath.Join(t.TempDir(), "r")
		got := kgs(t, "http://a/\n", "links", "import", "-", "--rejects", rejects, "--addr", newLinkAPI(t, healthy).url)
		if _, err := os.Stat(rejects); got.code != exitDone || !os.IsNotExist(err) {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("many", func(t *testing.T) {
		rejects := filepath.Join(t.TempDir(), "r")
		got := kgs(t, strings.Repeat("ftp://a/\n", maxShown+2), "links", "import", "-", "--rejects", rejects, "--addr", newLinkAPI(t, healthy).url)
		text, _ := os.ReadFile(rejects)
		if strings.Count(got.stderr, "invalid_url") != maxShown || strings.Count(string(text), "invalid_url") != maxShown+2 || !strings.Contains(got.stderr, "further ones are in "+rejects) {
			t.Errorf("%+v\n%s", got, text)
		}
	})
	t.Run("the input", func(t *testing.T) {
		file := writeFile(t, "http://a/\n")
		got := kgs(t, "", "links", "import", file, "--rejects", file)
		if text, _ := os.ReadFile(file); got.code != exitLocal || string(text) != "http://a/\n" {
			t.Errorf("%+v, %q", got, text)
		}
	})
}

// withoutLines is a file of rejects without the numbers of lines.
func withoutLines(text string) string {
	for i := range 10 {
		text = strings.ReplaceAll(text, fmt.Sprintf("line %d:", i), "line:")
	}
	return text
}

// TestImportTwice: a row that was imported is not again, wherever it is in the
// file then; two that are the same are two.
func TestImportTwice(t *testing.T) {
	s := newLinkAPI(t, healthy)
	imports := func(file string, more ...string) result {
		return kgs(t, file, append([]string{"links", "import", "-", "--addr", s.url}, more...)...)
	}
	first := imports("http://a/\n" + urls(2*importBatchLines) + "http://a/\n")
	if len(s.created) != 2*importBatchLines+2 {
		t.Fatalf("%d links", len(s.created))
	}
	second := imports("http://new/\nhttp://a/\n" + urls(2*importBatchLines) + "http://a/\n")
	if _, rest, _ := strings.Cut(second.stdout, "\n"); len(s.created) != 2*importBatchLines+3 || rest != first.stdout {
		t.Errorf("%d links; other answers than before", len(s.created))
	}
	if imports("http://new/\n", "--anew"); len(s.created) != 2*importBatchLines+4 {
		t.Errorf("--anew: %d links", len(s.created))
	}
}

func TestIsAs(t *testing.T) {
	want := client.NewLink{URL: "http://a/", Tags: []string{"x"}}
	is := client.Link{URL: "http://a/", Tags: []string{"x"}, Redirect: 302}
	if !isAs(is, want) {
		t.Error("the same is not")
	}
	at := time.Date(2126, 1, 2, 3, 4, 5, 678_901_234, time.UTC)
	is.ExpiresAt, is.NotBefore = at.Truncate(time.Millisecond), at.Truncate(time.Millisecond)
	if !isAs(is, client.NewLink{URL: "http://a/", Tags: []string{"x", "x"}, ExpiresAt: at, NotBefore: at}) {
		t.Error("the same is not, as a node keeps it")
	}
	is.ExpiresAt, is.NotBefore, is.Tags = time.Time{}, time.Time{}, nil
	if isAs(is, want) {
		t.Error("another one is")
	}
}

// TestImportRejectsOntoStdin: what is read from a file must not be emptied.
func TestImportRejectsOntoStdin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.csv")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	other := path + ".other"
	if !sameFile("-", file, path) || sameFile("-", file, other) || sameFile("-", strings.NewReader(""), path) || !sameFile(path, file, path) || sameFile(other, file, other) {
		t.Error("not told apart")
	}
}

func TestImportNotesArePrintable(t *testing.T) {
	_, notes, err := newEntryReader(strings.NewReader("longurl,shortcode,a\x1b[2Jb\n"), importOptions{})
	if text := strings.Join(notes, "\n"); err != nil || strings.Contains(text, "\x1b") || !strings.Contains(text, "a?[2Jb") {
		t.Errorf("%q, %v", text, err)
	}
}
