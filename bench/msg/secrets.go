package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/kith-go/kith/bench/stage"
	"github.com/kith-go/kith/internal/secret"
)

// The secrets of systems that encrypt are in a directory: a key of kith's cluster,
// and a certificate that is its own authority.
const (
	clusterKey  = "key"
	certificate = "certificate.pem"
	private     = "private.pem"
)

// makeSecrets fills dir.
func makeSecrets(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	self := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:        true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, self, self, key.Public(), key)
	if err != nil {
		return err
	}
	hidden, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	write := func(name string, text []byte) error { return os.WriteFile(filepath.Join(dir, name), text, 0o600) }
	return errors.Join(
		write(clusterKey, []byte(secret.NewKey().Text())),
		write(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
		write(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: hidden})),
	)
}

// secrets are a child's. Both are zero if its system does not encrypt.
type secrets struct {
	key secret.Key
	tls *tls.Config // for either side
}

// secretsOf reads them from the directory of the first member, if it has one.
func secretsOf(s stage.Spec) (secrets, error) {
	if len(s.Members) == 0 || s.Members[0].Dir == "" {
		return secrets{}, nil
	}
	dir := s.Members[0].Dir
	key, err := secret.Load(filepath.Join(dir, clusterKey))
	if err != nil {
		return secrets{}, err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, certificate), filepath.Join(dir, private))
	if err != nil {
		return secrets{}, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	return secrets{key: key, tls: &tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13,
	}}, nil
}
