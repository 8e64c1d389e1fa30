package etcdcfg

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"logagent/internal/lab"
)

func newAuthority(t *testing.T) *lab.Authority {
	t.Helper()
	a, err := lab.NewAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *lab.Authority, name string, o lab.CertOptions) lab.PEM {
	t.Helper()
	p, err := a.Issue(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func clientTLS(t *testing.T, a *lab.Authority, p lab.PEM) *tls.Config {
	t.Helper()
	c, err := a.Client(p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// certifiedEtcd starts an etcd that shows the certificate and wants one of the authority.
func certifiedEtcd(t *testing.T, a *lab.Authority, server lab.PEM) *lab.Etcd {
	t.Helper()
	trusting := clientTLS(t, a, issue(t, a, "lab", lab.CertOptions{}))
	trusting.InsecureSkipVerify = true // the lab's own client meets what is wrong too
	return ownEtcd(t, lab.EtcdOptions{TLS: &lab.EtcdTLS{Cert: server, ClientCA: a.File(), ClientTLS: trusting}})
}

func TestTLSThatIsNotAsItShouldBeIsNamedWithTheKeyThatMendsIt(t *testing.T) {
	t.Parallel()
	ours, others := newAuthority(t), newAuthority(t)
	yesterday := time.Now().Add(-time.Hour).Truncate(time.Second)
	here := lab.CertOptions{Hosts: []string{"127.0.0.1"}}
	good := certifiedEtcd(t, ours, issue(t, ours, "good", here))
	elsewhere := certifiedEtcd(t, ours, issue(t, ours, "elsewhere", lab.CertOptions{Hosts: []string{"etcd.example", "10.1.2.3"}}))
	expired := certifiedEtcd(t, ours, issue(t, ours, "expired", lab.CertOptions{Hosts: here.Hosts, Until: yesterday}))
	client := issue(t, ours, "client", lab.CertOptions{})

	for _, c := range []struct {
		name string
		to   *lab.Etcd
		tls  *tls.Config
		want string // "": it works
	}{
		{"as it should be", good, clientTLS(t, ours, client), ""},
		{"another authority", good, clientTLS(t, others, client), ": its TLS certificate is signed by an authority that is not trusted here (see etcd_ca)"},
		{"another host", elsewhere, clientTLS(t, ours, client), ": its TLS certificate is not for 127.0.0.1 but for etcd.example, 10.1.2.3 (see etcd_addr)"},
		{"expired", expired, clientTLS(t, ours, client), ": its TLS certificate has expired at " + yesterday.UTC().Format(time.RFC3339) + " (renew it on etcd's side)"},
		{"no client certificate", good, clientTLS(t, ours, lab.PEM{}), "client"},
		{"client of another authority", good, clientTLS(t, ours, issue(t, others, "client", lab.CertOptions{})), "client"},
		{"expired client", good, clientTLS(t, ours, issue(t, ours, "old", lab.CertOptions{Until: yesterday})), "client"},
		{"TLS to a plain etcd", shared, clientTLS(t, ours, client), "it speaks no TLS (leave etcd_ca, etcd_cert and https:// out)"},
		{"plain to an etcd with TLS", good, nil, "does it want TLS (see etcd_ca)?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var log safeBuffer
			client := newClient(t, c.to.Addr(), logTo(&log), func(o *Options) { o.TLS, o.Timeout = c.tls, 5*time.Second })
			if c.want != "" {
				client.opts.Timeout = 700 * time.Millisecond
			}
			_, _, err := client.Get(t.Context(), "h")
			if c.want == "" {
				if err != nil || !client.Link().Up {
					t.Fatalf("got %v, %+v", err, client.Link())
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.to.Addr()) {
				t.Fatalf("want %q with the address, got %v", c.want, err)
			}
			var r recorder
			following(t, client, r.options("", "h"))
			if c.want == "client" { // etcd says it after the handshake, and may hang up too soon for that to be heard
				alert := map[string]string{
					"no client certificate":       ": it wants a client certificate (see etcd_cert and etcd_key)",
					"client of another authority": ": it does not trust the authority of this client's certificate (see etcd_cert and etcd_key)",
					"expired client":              ": it refuses this client's certificate: expired (see etcd_cert and etcd_key)",
				}[c.name]
				eventually(t, alert, func() bool { return strings.Contains(client.Link().Error, alert) })
				c.want = "(see etcd_cert and etcd_key)"
			}
			for range 2 {
				if _, _, err := client.Get(t.Context(), "h"); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("later: want %q, got %v", c.want, err)
				}
			}
			if l := client.Link(); l.Up || !strings.Contains(l.Error, c.want) {
				t.Errorf("want the link to say the same, got %+v", l)
			}
			if n := strings.Count(log.String(), "\n"); n != 1 || strings.Count(log.String(), "rpc error") > 0 {
				t.Errorf("want it said once in plain words, got\n%s", &log)
			}
		})
	}
}

func TestRenewedCertificateIsTakenUpByItself(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	here := lab.CertOptions{Hosts: []string{"127.0.0.1"}, Until: time.Now().Add(-time.Hour)}
	e := certifiedEtcd(t, a, issue(t, a, "server", here))
	c := newClient(t, e.Addr(), func(o *Options) { o.TLS = clientTLS(t, a, issue(t, a, "client", lab.CertOptions{})) })
	revision := put(t, e, c.layout.Config("h"), entry("a", 1))
	var r recorder
	following(t, c, r.options("", "h"))
	eventually(t, "words in the link", func() bool { return strings.Contains(c.Link().Error, "has expired") })
	here.Until = time.Time{}
	issue(t, a, "server", here) // in place of the old one
	eventually(t, "document", func() bool { return r.runs(0, revision) && c.Link().Up })
}
