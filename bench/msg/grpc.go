package main

import (
	"context"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/kith-go/kith/bench/stage"
)

var grpcKinds = kinds{"grpc": grpcServer, "grpc-load": grpcLoad}

const (
	grpcName = "grpc"
	grpcEcho = "/bench.Bench/Echo"
	grpcHang = "/bench.Bench/Hang"
)

// grpcService is what protoc would write for a service whose methods take and return
// google.protobuf.BytesValue.
var grpcService = grpc.ServiceDesc{
	ServiceName: "bench.Bench",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Echo", Handler: unary(func(_ context.Context, in *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
			return in, nil
		})},
		{MethodName: "Hang", Handler: unary(func(ctx context.Context, _ *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})},
	},
}

func unary(f func(context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error)) grpc.MethodHandler {
	return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.BytesValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		return f(ctx, in)
	}
}

// listening is a party at a listener.
type listening struct {
	bystander
	name string
	l    net.Listener
}

func (p listening) places() []place { return []place{{p.name, p.l.Addr().(*net.TCPAddr).Port}} }

func grpcServer(_ context.Context, s stage.Spec) (party, func(), error) {
	hidden, err := secretsOf(s)
	if err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	var opts []grpc.ServerOption
	if hidden.tls != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(hidden.tls)))
	}
	srv := grpc.NewServer(opts...)
	srv.RegisterService(&grpcService, nil)
	go srv.Serve(l) // until Stop
	return listening{name: grpcName, l: l}, srv.Stop, nil
}

// grpcAsker spreads its callers over its connections.
type grpcAsker struct {
	bystander
	conns []*grpc.ClientConn
	next  atomic.Int64
}

func grpcLoad(_ context.Context, s stage.Spec) (party, func(), error) {
	hidden, err := secretsOf(s)
	if err != nil {
		return nil, nil, err
	}
	server, err := at(s, grpcName)
	if err != nil {
		return nil, nil, err
	}
	creds := insecure.NewCredentials()
	if hidden.tls != nil {
		creds = credentials.NewTLS(hidden.tls)
	}
	a := new(grpcAsker)
	for range s.Conns {
		conn, err := grpc.NewClient("passthrough:///"+server.ClientAddr(), grpc.WithTransportCredentials(creds))
		if err != nil {
			a.close()
			return nil, nil, err
		}
		a.conns = append(a.conns, conn)
	}
	return a, a.close, nil
}

func (a *grpcAsker) close() {
	for _, conn := range a.conns {
		conn.Close()
	}
}

func (a *grpcAsker) caller(size int) (func(context.Context) error, func(), error) {
	in, conn := wrapperspb.Bytes(make([]byte, size)), a.conns[int(a.next.Add(1))%len(a.conns)]
	return func(ctx context.Context) error {
		out := new(wrapperspb.BytesValue)
		if err := conn.Invoke(ctx, grpcEcho, in, out); err != nil {
			return err
		}
		return echoed(len(out.Value), size)
	}, func() {}, nil
}

// Serves is a stage.Observer's.
func (a *grpcAsker) Serves(ctx context.Context, _ int) error {
	for _, conn := range a.conns {
		if err := conn.Invoke(ctx, grpcEcho, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue)); err != nil {
			return err
		}
	}
	return nil
}

func (a *grpcAsker) hang(ctx context.Context) error {
	return a.conns[0].Invoke(ctx, grpcHang, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue))
}

func (a *grpcAsker) try(ctx context.Context) error {
	return a.conns[0].Invoke(ctx, grpcEcho, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue))
}
