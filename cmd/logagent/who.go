package main

import (
	"net/netip"
	"os"
	"os/user"
	"strings"

	"logagent/etcdcfg/change"
)

// maxWhoBytes bounds each word of a Who: they come from the environment and stand in every
// record of the history.
const maxWhoBytes = 128

// who is the person at this process, for the history.
func (a *app) who() change.Who { return whoAmI(a.getenv) }

// whoAmI tells who runs this process, as far as the system knows: its user, and whom sudo was
// called by; the host it runs on; and the address an SSH session comes from. It is what the
// operator's own machine says of him: a help for his colleagues, no proof.
func whoAmI(getenv func(string) string) change.Who {
	host, _ := os.Hostname() // unknown: left empty
	return change.Who{User: oneWord(userName(getenv, account())), Host: oneWord(host), SSH: sshClient(getenv)}
}

// account is the name that the system has for this process's user; "" where it has none.
func account() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// userName is the person: whoever called sudo, else the account, else what the environment says.
// The account stands before USER, which su and cron leave as it was.
func userName(getenv func(string) string, account string) string {
	if by := getenv("SUDO_USER"); by != "" && by != account {
		return by + " (sudo)"
	}
	if account != "" {
		return account
	}
	if name := getenv("USER"); name != "" {
		return name
	}
	return getenv("LOGNAME")
}

// sshClient is the address that the SSH session of this process comes from; "" where there is none.
func sshClient(getenv func(string) string) string {
	for _, name := range []string{"SSH_CONNECTION", "SSH_CLIENT"} {
		first, _, _ := strings.Cut(getenv(name), " ")
		if addr, err := netip.ParseAddr(first); err == nil {
			return addr.String()
		}
	}
	return ""
}

// oneWord is text from the environment as it may stand in the history: one line, bounded.
func oneWord(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > maxWhoBytes {
		s = strings.ToValidUTF8(s[:maxWhoBytes], "")
	}
	return s
}
