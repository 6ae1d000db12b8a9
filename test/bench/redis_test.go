package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"testing"

	"github.com/kgs-cluster/kgs/httpapi/client/load"
	"github.com/kgs-cluster/kgs/test/proc"
)

// startRedis starts one server that syncs its log before each answer. Rewrites
// of the log are off, in its favour.
func startRedis(t *testing.T) (string, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return "", errors.New("Redis is not installed: apt-get install redis-server")
	}
	port := proc.FreePorts(t, 1)[0]
	return loopback(port), startServer(t, port, "", program, "--port", strconv.Itoa(port), "--bind", "127.0.0.1",
		"--dir", t.TempDir(), "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
}

// redisConn speaks RESP 2, with no more work a key than the client of kgs has.
type redisConn struct {
	net.Conn
	in *bufio.Reader
}

func dialRedis(ctx context.Context, addr string) (*redisConn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &redisConn{conn, bufio.NewReaderSize(conn, 16<<10)}, nil
}

// command encodes one.
func command(words ...string) []byte {
	out := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, word := range words {
		out = fmt.Appendf(out, "$%d\r\n%s\r\n", len(word), word)
	}
	return out
}

// reply reads an answer and returns how many bulk strings are in it.
func (c *redisConn) reply() (int, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	kind, rest := line[0], bytes.TrimSuffix(line[1:], []byte("\r\n"))
	if kind == '-' {
		return 0, fmt.Errorf("redis: %s", rest)
	}
	if kind == '+' || kind == ':' {
		return 0, nil
	}
	n, err := strconv.Atoi(string(rest))
	if err != nil {
		return 0, err
	}
	if kind == '$' {
		if n < 0 { // there is none
			return 0, nil
		}
		_, err := c.in.Discard(n + 2)
		return 1, err
	}
	found := 0
	for range n {
		more, err := c.reply()
		if err != nil {
			return found, err
		}
		found += more
	}
	return found, nil
}

// do sends commands at once and reads their answers.
func (c *redisConn) do(commands []byte, count int) error {
	if _, err := c.Write(commands); err != nil {
		return err
	}
	for range count {
		if _, err := c.reply(); err != nil {
			return err
		}
	}
	return nil
}

// fillRedis puts count random keys into the set, without syncs.
func fillRedis(ctx context.Context, addr string, count int) error {
	c, err := dialRedis(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.do(command("CONFIG", "SET", "appendfsync", "no"), 1); err != nil {
		return err
	}
	const each = 1000
	for range count / each {
		words := []string{"SADD", "unused"}
		for range each {
			words = append(words, randomKey())
		}
		if err := c.do(command(words...), 1); err != nil {
			return err
		}
	}
	return c.do(command("CONFIG", "SET", "appendfsync", "always"), 1)
}

// redisPop takes count keys from the set.
func redisPop(addr string, count int) connect {
	words := []string{"SPOP", "unused"}
	if count > 1 {
		words = append(words, strconv.Itoa(count))
	}
	pop := command(words...)
	return func(ctx context.Context, _ int) (load.Worker, error) {
		c, err := dialRedis(ctx, addr)
		return redisPopper{c, pop, count}, err
	}
}

type redisPopper struct {
	*redisConn
	pop   []byte
	count int
}

func (p redisPopper) Do(context.Context) (load.Done, error) {
	if _, err := p.Write(p.pop); err != nil {
		return load.Done{}, err
	}
	n, err := p.reply()
	if err == nil && n != p.count {
		err = fmt.Errorf("redis: %d keys: the set is empty", n)
	}
	return load.Done{Items: n}, err
}
