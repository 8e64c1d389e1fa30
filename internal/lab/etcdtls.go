package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Authority signs certificates for tests.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// PEM names the two files of a certificate.
type PEM struct{ Cert, Key string }

// CertOptions says what a certificate certifies.
type CertOptions struct {
	Hosts []string // names and addresses; none: a client's
	// Until is when it ends; the zero time means in an hour.
	Until time.Time
}

// NewAuthority makes an authority whose files lie in a folder, its own certificate in
// ca.pem.
func NewAuthority(dir string) (*Authority, error) {
	a := &Authority{dir: dir}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "an authority of a test"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(raw); err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	return a, writePEM(a.File(), "CERTIFICATE", raw)
}

// File is where the authority's own certificate lies.
func (a *Authority) File() string { return filepath.Join(a.dir, "ca.pem") }

// Issue writes NAME.pem and NAME.key.
func (a *Authority) Issue(name string, o CertOptions) (PEM, error) {
	p := PEM{Cert: filepath.Join(a.dir, name+".pem"), Key: filepath.Join(a.dir, name+".key")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: a.cert.NotBefore, NotAfter: o.Until,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if o.Until.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	for _, h := range o.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return PEM{}, fmt.Errorf("certificate %s: %w", name, err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return PEM{}, fmt.Errorf("certificate %s: %w", name, err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return PEM{}, fmt.Errorf("certificate %s: %w", name, err)
	}
	if err := writePEM(p.Cert, "CERTIFICATE", raw); err != nil {
		return PEM{}, err
	}
	return p, writePEM(p.Key, "PRIVATE KEY", private)
}

// Client is what a client needs that trusts the authority and shows a certificate; none
// where p is the zero value.
func (a *Authority) Client(p PEM) (*tls.Config, error) {
	c := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	c.RootCAs.AddCert(a.cert)
	if p == (PEM{}) {
		return c, nil
	}
	pair, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// ForEtcd issues a certificate for 127.0.0.1 and one for clients, which it returns too, and
// makes of them what an etcd needs that lets nobody in without one.
func (a *Authority) ForEtcd() (*EtcdTLS, PEM, error) {
	server, err := a.Issue("server", CertOptions{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		return nil, PEM{}, err
	}
	client, err := a.Issue("client", CertOptions{})
	if err != nil {
		return nil, PEM{}, err
	}
	config, err := a.Client(client)
	if err != nil {
		return nil, PEM{}, err
	}
	return &EtcdTLS{Cert: server, ClientCA: a.File(), ClientTLS: config}, client, nil
}

func writePEM(path, kind string, raw []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600)
}
