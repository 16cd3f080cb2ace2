#!/usr/bin/env bash
# Generates the protobuf code into a folder of its own and compares it with what is committed. It changes nothing and
# installs nothing; without protoc it fails.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v protoc >/dev/null || { echo "proto-check: protoc is missing: install protobuf-compiler" >&2; exit 1; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mkdir -p bin
go build -modfile=tools/go.mod -o bin/ \
	google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
PATH="$PWD/bin:$PATH" protoc -I proto \
	--go_out="$out" --go_opt=module=github.com/vipkv/vipkv \
	--go-grpc_out="$out" --go-grpc_opt=module=github.com/vipkv/vipkv \
	proto/vipkv/v1/*.proto proto/vipkv/node/v1/*.proto
status=0
while IFS= read -r file; do
	# The line that names protoc's own version is left out: Debian's releases differ in it and in nothing else.
	if ! diff -u -I '^//.*protoc  *v' "$file" "$out/$file"; then
		status=1
	fi
done < <(cd "$out" && find proto -name '*.pb.go' | sort)
while IFS= read -r file; do
	[ -f "$out/$file" ] || { echo "proto-check: $file has no .proto file" >&2; status=1; }
done < <(find proto -name '*.pb.go' | sort)
[ "$status" = 0 ] || { echo "proto-check: run make proto and commit the result" >&2; exit 1; }
echo "proto-check: the generated code is up to date"
