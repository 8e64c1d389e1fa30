package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"unicode"
)

// maxHostIDBytes is the longest host id: what a DNS name may be.
const maxHostIDBytes = 253

// checkHostID tells what keeps an id from being one segment of an etcd key, or makes it a
// group's name.
func checkHostID(id string) error {
	switch {
	case id == "":
		return errors.New("is empty")
	case len(id) > maxHostIDBytes:
		return fmt.Errorf("is longer than %d bytes", maxHostIDBytes)
	case strings.Contains(id, "/"):
		return errors.New("holds a /")
	case strings.HasPrefix(id, "@"):
		return errors.New("begins with @, which stands before the name of a group")
	case strings.ContainsFunc(id, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == unicode.ReplacementChar }):
		return errors.New("holds white space or a control character")
	}
	return nil
}

// hostKeys returns the ids whose keys this host follows, its own id first: the one that
// the INI file sets and no other; else the host name and the addresses of this host.
func hostKeys(set string) ([]string, error) {
	if set != "" {
		return []string{set}, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("host name: %w; set host in the configuration", err)
	}
	if err := checkHostID(name); err != nil {
		return nil, fmt.Errorf("host name %q: %w; set host in the configuration", name, err)
	}
	cards, err := networkCards()
	if err != nil {
		return nil, fmt.Errorf("network interfaces: %w; set host in the configuration", err)
	}
	ids := []string{name}
	for _, a := range ownAddresses(cards) {
		if a != name {
			ids = append(ids, a)
		}
	}
	return ids, nil
}

// card is one network interface.
type card struct {
	name  string
	up    bool
	inner bool // a bridge or a tunnel by what the kernel says
	addrs []netip.Addr
}

// networkCards lists the interfaces of this host in the kernel's order.
func networkCards() ([]card, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var cards []card
	for _, i := range list {
		c := card{name: i.Name, up: i.Flags&net.FlagUp != 0, inner: i.Flags&(net.FlagLoopback|net.FlagPointToPoint) != 0}
		for _, sign := range []string{"bridge", "tun_flags"} {
			if _, err := os.Stat(filepath.Join("/sys/class/net", i.Name, sign)); err == nil {
				c.inner = true
			}
		}
		addrs, err := i.Addrs()
		if err != nil { // it went away meanwhile
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				c.addrs = append(c.addrs, p.Addr().Unmap())
			}
		}
		cards = append(cards, c)
	}
	return cards, nil
}

// innerPrefixes begin the names of interfaces that lead to guests and containers of this
// host and not to it. A bond or a VLAN is no such thing, nor is the eth0 of a container.
var innerPrefixes = []string{
	"docker", "br-", "virbr", "veth", "vnet", "cni", "flannel", "cali", "cilium", "lxc", "lxd", "weave",
	"podman", "kube-", "nodelocaldns", "dummy", "vmnet", "vboxnet", "tun", "tap",
}

// ownAddresses is the global-unicast addresses by which others reach this host.
func ownAddresses(cards []card) []string {
	var out []string
	seen := make(map[netip.Addr]bool)
	for _, c := range cards {
		if !c.up || c.inner || hasInnerName(c.name) {
			continue
		}
		for _, a := range c.addrs {
			if a.IsGlobalUnicast() && !seen[a] {
				seen[a] = true
				out = append(out, a.String())
			}
		}
	}
	return out
}

func hasInnerName(name string) bool {
	for _, p := range innerPrefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}
