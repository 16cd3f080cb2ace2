# make alone prints the targets.
DATA ?= ./.vipkv
PROTOS := $(wildcard proto/vipkv/v1/*.proto proto/vipkv/node/v1/*.proto)
TOOL := go tool -modfile=tools/go.mod

help: ## print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

proto: ## generate Go from proto/**/*.proto (needs Debian's protobuf-compiler)
	@mkdir -p bin
	GOBIN=$(CURDIR)/bin go build -modfile=tools/go.mod -o bin/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	PATH=$(CURDIR)/bin:$$PATH protoc -I proto --go_out=. --go_opt=module=github.com/vipkv/vipkv --go-grpc_out=. --go-grpc_opt=module=github.com/vipkv/vipkv $(PROTOS)

.PHONY: help proto
