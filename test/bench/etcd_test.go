package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/kgs-cluster/kgs/httpapi/client/load"
	"github.com/kgs-cluster/kgs/test/proc"
)

// etcdNode is the arguments of one of three etcd servers.
type etcdNode struct {
	Name, Dir, Client, Peer, Cluster string
}

// serveEtcd is an etcd server with its defaults, except for a larger quota, as
// its documentation advises for more data, and a quiet log.
func serveEtcd(args []byte) error {
	var node etcdNode
	if err := json.Unmarshal(args, &node); err != nil {
		return err
	}
	config := embed.NewConfig()
	config.Name, config.Dir, config.InitialCluster = node.Name, node.Dir, node.Cluster
	config.LogLevel, config.QuotaBackendBytes = "error", 8<<30
	client, peer := url.URL{Scheme: "http", Host: node.Client}, url.URL{Scheme: "http", Host: node.Peer}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	select {
	case <-server.Server.ReadyNotify():
		ready()
		return nil
	case err := <-server.Err():
		return err
	}
}

// startEtcd starts three and returns the leader's address.
func startEtcd(t *testing.T) (string, error) {
	ports := proc.FreePorts(t, 6)
	var nodes []etcdNode
	var cluster []string
	for i := range 3 {
		node := etcdNode{Name: fmt.Sprintf("e%d", i+1), Dir: t.TempDir(), Client: loopback(ports[2*i]), Peer: loopback(ports[2*i+1])}
		nodes = append(nodes, node)
		cluster = append(cluster, node.Name+"=http://"+node.Peer)
	}
	started := make(chan error)
	for _, node := range nodes {
		node.Cluster = strings.Join(cluster, ",")
		go func() { started <- startChild(t, "etcd", node) }()
	}
	if err := errors.Join(<-started, <-started, <-started); err != nil {
		return "", err
	}
	for _, node := range nodes {
		c, err := dialEtcd(node.Client)
		if err != nil {
			return "", err
		}
		status, err := c.Status(t.Context(), node.Client)
		c.Close()
		if err != nil {
			return "", err
		}
		if status.Leader == status.Header.MemberId {
			return node.Client, nil
		}
	}
	return "", errors.New("etcd: no leader")
}

func dialEtcd(addr string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
}

// etcdConns is how many connections the clients share: etcd's own benchmark
// uses fewer connections than clients, since gRPC puts many calls on one.
const etcdConns = 16

// etcdCreate is the naive way: draw a random key, put it if it is absent, else
// draw again; in one transaction, at the leader.
func etcdCreate(t *testing.T, addr string, clients int, urls *load.URLs) (connect, error) {
	conns := make([]*clientv3.Client, min(clients, etcdConns))
	for i := range conns {
		c, err := dialEtcd(addr)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { c.Close() })
		conns[i] = c
	}
	return func(_ context.Context, client int) (load.Worker, error) {
		return etcdWorker{conns[client%len(conns)], urls}, nil
	}, nil
}

type etcdWorker struct {
	kv   clientv3.KV
	urls *load.URLs
}

func (w etcdWorker) Do(ctx context.Context) (load.Done, error) {
	target := w.urls.Next()
	for {
		key := randomKey()
		absent := clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
		answer, err := w.kv.Txn(ctx).If(absent).Then(clientv3.OpPut(key, target)).Commit()
		if err != nil {
			return load.Done{}, err
		}
		if answer.Succeeded {
			return load.Done{Items: 1}, nil
		}
	}
}

func (w etcdWorker) Close() error { return nil } // the connections are shared

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// randomKey is a key as kgs makes them, 6 characters, by chance.
func randomKey() string {
	var key [6]byte
	for i := range key {
		key[i] = base62[rand.IntN(len(base62))]
	}
	return string(key[:])
}
