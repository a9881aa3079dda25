// Package statepb holds what internal/state puts on disks and between nodes:
// state.proto and the Go code made of it. Fields are added, never renumbered
// (S9); golden bytes in internal/state/testdata notice it when one changes.
//
// After a change of state.proto: go generate ./internal/state/statepb. It needs
// protoc (apt-get install protobuf-compiler, or a release of
// github.com/protocolbuffers/protobuf); the plugins are tools of go.mod.
package statepb

//go:generate sh -c "mkdir -p ../../../bin && go build -o ../../../bin/ google.golang.org/protobuf/cmd/protoc-gen-go github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto"
//go:generate sh -c "PATH=$(cd ../../../bin && pwd):$DOLLAR{PATH} protoc -Ikith/state/v1=. --go_out=. --go_opt=module=github.com/kith-go/kith/internal/state/statepb --go-vtproto_out=. --go-vtproto_opt=module=github.com/kith-go/kith/internal/state/statepb,features=marshal+unmarshal+unmarshal_unsafe+size kith/state/v1/state.proto"
