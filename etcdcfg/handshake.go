package etcdcfg

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"
)

// The keys of the INI that mend what is wrong, named in the words about it.
const (
	mendCA       = "see etcd_ca"
	mendCert     = "see etcd_cert and etcd_key"
	mendAddr     = "see etcd_addr"
	mendPassword = "see etcd_user and etcd_password_file"
)

// handshake shakes hands as TLS does and remembers why it failed: what a request that waits
// for a connection returns is a timeout with gRPC's prose around the reason.
type handshake struct {
	credentials.TransportCredentials
	link *link
}

func (h handshake) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := h.TransportCredentials.ClientHandshake(ctx, authority, conn)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		h.link.dialFailed(authority + ": " + plainTLS(err))
	}
	if err != nil {
		return nil, nil, err
	}
	return &alerted{Conn: secured, authority: authority, link: h.link}, info, nil
}

// alerted is a connection on which etcd may say that it does not take this side's
// certificate: in TLS 1.3 that comes after the handshake, and is lost where the connection's
// end comes first. One goroutine reads.
type alerted struct {
	net.Conn
	authority string
	link      *link
	heard     bool // etcd has said something
}

func (c *alerted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.heard = c.heard || n > 0
	if err == nil || c.heard {
		return n, err
	}
	if reason := refusedCertificate(err.Error()); reason != "" {
		c.link.alerted(c.authority + ": " + reason)
	} else if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		c.link.hungUp(c.authority + ": it hung up right after the TLS handshake; does it want another client certificate (" + mendCert + ")?")
	}
	return n, err
}

func (h handshake) Clone() credentials.TransportCredentials {
	return handshake{h.TransportCredentials.Clone(), h.link}
}

// secured tells whether connections are made with TLS. The etcd library goes by the first
// address alone.
func (o Options) secured() bool {
	first := o.Addrs[0]
	return strings.HasPrefix(first, "https://") || o.TLS != nil && !strings.HasPrefix(first, "http://")
}

// plainTLS words why hands were not shaken, and which key of the INI mends it.
func plainTLS(err error) string {
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		header  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &unknown):
		return "its TLS certificate is signed by an authority that is not trusted here (" + mendCA + ")"
	case errors.As(err, &host):
		return fmt.Sprintf("its TLS certificate is not for %s but for %s (%s)", host.Host, certified(host.Certificate), mendAddr)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if c := invalid.Cert; time.Now().Before(c.NotBefore) {
			return "its TLS certificate begins to be valid at " + c.NotBefore.UTC().Format(time.RFC3339) + " (renew it on etcd's side, or set this machine's clock)"
		}
		return "its TLS certificate has expired at " + invalid.Cert.NotAfter.UTC().Format(time.RFC3339) + " (renew it on etcd's side)"
	case errors.As(err, &header), errors.Is(err, io.EOF):
		return "TLS handshake failed: it speaks no TLS (leave etcd_ca, etcd_cert and https:// out), or hung up"
	}
	if reason := refusedCertificate(err.Error()); reason != "" {
		return reason
	}
	return "TLS handshake failed: " + err.Error()
}

// certified lists the names that a certificate is for.
func certified(c *x509.Certificate) string {
	names := c.DNSNames
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// refusedCertificate words the alert by which the other side refuses this side's
// certificate, which comes after the handshake in TLS 1.3; "" where the text holds none.
func refusedCertificate(text string) string {
	_, alert, ok := strings.Cut(text, "remote error: tls: ")
	if !ok {
		return ""
	}
	alert = strings.TrimRight(alert, `"`)
	switch {
	case strings.HasPrefix(alert, "certificate required"):
		return "it wants a client certificate (" + mendCert + ")"
	case strings.HasPrefix(alert, "expired certificate"):
		return "it refuses this client's certificate: expired (" + mendCert + ")"
	case strings.HasPrefix(alert, "unknown certificate authority"):
		return "it does not trust the authority of this client's certificate (" + mendCert + ")"
	case strings.Contains(alert, "certificate"):
		return "it refuses this client's certificate: " + alert + " (" + mendCert + ")"
	}
	return "TLS handshake failed: it says " + alert
}
