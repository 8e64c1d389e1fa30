package store

import (
	"testing"

	"logagent/agent"
)

func TestAFilterFindsDocumentsByWhatIsWantedInThem(t *testing.T) {
	t.Parallel()
	entries := []agent.Service{
		{Service: "nginx", LogPath: "/var/log/nginx/Access.log", Topic: "web", SendRate: 5000},
		{Service: "app", LogPath: "/srv/app.log", Topic: "app", SendRate: 3000},
	}
	unlimited := []agent.Service{{Service: "nginx", LogPath: "/a", Topic: "t"}}
	for text, want := range map[string]bool{
		"":                           true,
		"NGINX":                      true,
		"!nginx":                     false,
		"access":                     true,
		"host=web-*":                 true,
		"host=db-*":                  false,
		"service=app topic=web":      true,
		"service!=app":               false,
		"path=/srv/*":                true,
		"rate=8k":                    true,
		"rate<8000":                  false,
		"host=web-01 rate>=8000 app": true,
	} {
		f, err := ParseFilter(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.CheckWanted(); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if got := f.MatchesWanted("Web-01", entries); got != want {
			t.Errorf("%q: want %v, got %v", text, want, got)
		}
	}
	f, err := ParseFilter("rate>900M")
	if err != nil {
		t.Fatal(err)
	}
	if !f.MatchesWanted("web-02", unlimited) {
		t.Error("an entry without a limit is above every number")
	}
}

func TestAFilterOverDocumentsRefusesWhatOnlyAStatusTells(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"lag>1GB", "!behind>5m", "state=ok", "nginx err>0", "cfg=ok", "files>1"} {
		f, err := ParseFilter(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.CheckWanted(); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}
