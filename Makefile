BUF := github.com/bufbuild/buf/cmd/buf@v1.50.0

.PHONY: proto
proto:
	go run $(BUF) generate --template .buf.gen.yaml
