package main

import (
	"os"
	"strings"
	"testing"
)

func environment(pairs ...string) func(string) string {
	env := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		env[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return env[name] }
}

func TestThePersonIsWhoeverCalledSudoElseTheAccount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		account string
		env     []string
		want    string
	}{
		{"alice", nil, "alice"},
		{"root", []string{"SUDO_USER", "alice", "USER", "root"}, "alice (sudo)"},
		{"alice", []string{"SUDO_USER", "alice"}, "alice"}, // sudo -u alice by alice herself
		{"deploy", []string{"USER", "bob"}, "deploy"},      // su leaves USER as it was
		{"", []string{"USER", "1000"}, "1000"},             // a container without an account
		{"", []string{"LOGNAME", "cron"}, "cron"},
		{"", nil, ""},
	} {
		if got := userName(environment(c.env...), c.account); got != c.want {
			t.Errorf("account %q, %q: want %q, got %q", c.account, c.env, c.want, got)
		}
	}
}

func TestTheAddressOfAnSSHSessionIsKnown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want string
		env  []string
	}{
		{"10.0.0.7", []string{"SSH_CONNECTION", "10.0.0.7 51234 10.0.0.1 22"}},
		{"10.0.0.8", []string{"SSH_CLIENT", "10.0.0.8 51234 22"}},
		{"2001:db8::1", []string{"SSH_CONNECTION", "2001:db8::1 51234 2001:db8::2 22"}},
		{"", []string{"SSH_CONNECTION", "\x1b[31mhello 1 2 3"}},
		{"", nil},
	} {
		if got := whoAmI(environment(c.env...)).SSH; got != c.want {
			t.Errorf("%q: want %q, got %q", c.env, c.want, got)
		}
	}
}

func TestWhoIsOneShortLine(t *testing.T) {
	t.Parallel()
	if got := oneWord("a\nb\x1b[0m\xff"); got != "ab[0m" {
		t.Errorf("got %q", got)
	}
	if got := oneWord(strings.Repeat("é", maxWhoBytes)); len(got) > maxWhoBytes || strings.ContainsRune(got, '�') {
		t.Errorf("got %q", got)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if got := whoAmI(environment()); got.Host != host || got.User == "" {
		t.Errorf("want the host %s and an account, got %+v", host, got)
	}
}
