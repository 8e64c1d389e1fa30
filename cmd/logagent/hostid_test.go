package main

import (
	"net/netip"
	"os"
	"slices"
	"testing"
)

func TestSetHostIsTheOnlyKey(t *testing.T) {
	t.Parallel()
	if got, err := hostKeys("web-1"); err != nil || !slices.Equal(got, []string{"web-1"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestHostNameComesFirstAndAddressesFollow(t *testing.T) {
	t.Parallel()
	name, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	got, err := hostKeys("")
	if err != nil || got[0] != name {
		t.Fatalf("want %s first, got %q, %v", name, got, err)
	}
	for _, a := range got[1:] {
		if ip, err := netip.ParseAddr(a); err != nil || !ip.IsGlobalUnicast() || checkHostID(a) != nil {
			t.Errorf("%q is no address of this host", a)
		}
	}
}

func TestBridgesAndVirtualInterfacesAreLeftOut(t *testing.T) {
	t.Parallel()
	at := func(name string, up, inner bool, addrs ...string) card {
		c := card{name: name, up: up, inner: inner}
		for _, a := range addrs {
			c.addrs = append(c.addrs, netip.MustParseAddr(a))
		}
		return c
	}
	got := ownAddresses([]card{
		at("lo", true, true, "127.0.0.1", "::1"),
		at("eth0", true, false, "10.1.2.3", "fe80::1", "2001:db8::7"),
		at("eth1", false, false, "10.9.9.9"),
		at("bond0.100", true, false, "192.168.7.1", "10.1.2.3"),
		at("docker0", true, false, "172.17.0.1"),
		at("br-1f2e3d", true, false, "172.18.0.1"),
		at("lanbridge", true, true, "172.19.0.1"),
		at("veth12ab", true, false, "172.20.0.1"),
		at("virbr0", true, false, "192.168.122.1"),
		at("cni0", true, false, "10.244.0.1"),
		at("wlan0", true, false, "169.254.3.4", "224.0.0.1"),
	})
	if want := []string{"10.1.2.3", "2001:db8::7", "192.168.7.1"}; !slices.Equal(got, want) {
		t.Errorf("want %q, got %q", want, got)
	}
}

func TestHostIDIsOneKeySegment(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"web-1", "10.0.0.1", "fd00::1", "café"} {
		if err := checkHostID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", "a/b", "a b", "a\n", string(make([]byte, 300))} {
		if checkHostID(id) == nil {
			t.Errorf("%q is taken", id)
		}
	}
}
