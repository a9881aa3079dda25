package secret

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"
)

// serverName is the name every leaf certificate carries. Belonging to the
// cluster is all that a certificate proves: whoever holds the key could mint
// one for any node's name, so the name of the node is left to the handshake
// behind TLS.
const serverName = "kith"

// authorityName is what the authority of every cluster is called.
const authorityName = "kith cluster"

var (
	notBefore = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	notAfter  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	// verifyAt is the moment at which both sides judge certificates. Leaves live
	// as long as their process, so dates add nothing; a machine that boots with
	// its clock in 1970 must still be able to join.
	verifyAt = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// TLS returns the configurations for accepting and for dialling on the control
// port: TLS 1.3 only, both sides prove that they hold k. Each call mints a new
// leaf; name, the node's, is only for people who look at the certificate.
func (k Key) TLS(name string) (server, client *tls.Config, err error) {
	ca, caKey, err := k.authority()
	if err != nil {
		return nil, nil, err
	}
	leaf, err := mintLeaf(name, ca, caKey)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	base := tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{leaf},
		Time:         func() time.Time { return verifyAt },
		// Resumed sessions would outlive a change of the key.
		SessionTicketsDisabled: true,
	}
	server, client = base.Clone(), base.Clone()
	server.ClientAuth = tls.RequireAndVerifyClientCert
	server.ClientCAs = pool
	client.RootCAs = pool
	client.ServerName = serverName
	return server, client, nil
}

// Minted reports whether cert looks like a certificate of some kith cluster,
// whichever its key. It proves nothing, and is for error messages.
func Minted(cert *x509.Certificate) bool {
	return cert != nil && cert.Issuer.CommonName == authorityName
}

// authority returns the certificate authority: the same bytes on every node.
func (k Key) authority() (*x509.Certificate, ed25519.PrivateKey, error) {
	key := ed25519.NewKeyFromSeed(k.derive("tls-authority/v1", ed25519.SeedSize))
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: authorityName},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("secret: making the certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("secret: making the certificate authority: %w", err)
	}
	return cert, key, nil
}

func mintLeaf(name string, ca *x509.Certificate, caKey ed25519.PrivateKey) (tls.Certificate, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("secret: making a certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("secret: making a certificate: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{serverName},
		NotBefore:    notBefore,
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca, pub, caKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("secret: making a certificate for %q: %w", name, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
