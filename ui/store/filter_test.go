package store

import (
	"strings"
	"testing"

	"logagent/agent"
)

func TestFilterFindsWhatItSays(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	s.SetDocument("web-1", agent.Document{Key: "k1", Revision: 1, Services: []agent.Service{
		{Service: "Nginx", LogPath: "/var/log/nginx/access.log", Topic: "web-access", SendRate: 100},
		{Service: "two words", LogPath: "/w", Topic: "w"}}})
	m := summary("x", 1, 1, 2_000_000_000)
	m.Running, m.Behind, m.BehindS, m.In, m.Out, m.Limit, m.Throttle, m.Files = 1, 1, 400, 50, 40, 100, 63, 7
	s.SetSummary("web-1", m, 0)
	s.SetDocument("db-2", agent.Document{Key: "k2", Revision: 2, Services: []agent.Service{{Service: "pg", LogPath: "/pg.log", Topic: "pg"}}})
	for filter, want := range map[string]string{
		"":                                    "db-2 web-1",
		"WEB":                                 "web-1",
		"nginx access":                        "web-1",
		"/pg":                                 "db-2",
		"!pg":                                 "web-1",
		"!!pg":                                "db-2",
		`"two words"`:                         "web-1",
		`service="two words"`:                 "web-1",
		`"lag>1GB"`:                           "",
		"lag>1GB":                             "web-1",
		"lag>=2GB lag<=2000MB lag=2000000000": "web-1",
		"lag!=1":                              "web-1", // what is not known satisfies nothing
		"!lag>1GB":                            "db-2",
		"behind>5m behind<1h30m behind<1d":    "web-1",
		"state=behind":                        "web-1",
		"state!=behind":                       "db-2",
		"state=un*":                           "db-2",
		"rate<=100":                           "web-1",
		"limit>99":                            "web-1",
		"service=ng*":                         "web-1",
		"service!=ng*":                        "db-2",
		"service=n*x":                         "web-1",
		"topic=web-access path=*/access.log":  "web-1",
		"cfg=ok":                              "web-1",
		"cfg=unknown":                         "db-2",
		"throttled>=63 files=7 in>40 out<50":  "web-1",
		"host=db-?":                           "",
		"host=*-2":                            "db-2",
		"err=0 web":                           "web-1",
		"nothing-such":                        "",
	} {
		f, err := ParseFilter(filter)
		if err != nil {
			t.Errorf("%q: %v", filter, err)
			continue
		}
		if got := strings.Join(hostNames(s.Fleet(Query{Filter: f, Sort: SortName, Count: 9})), " "); got != want {
			t.Errorf("%q: want %q, got %q", filter, want, got)
		}
	}
}

func TestWrongFilterNamesItsPart(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]string{
		"nginx zone=fra":  `"zone=fra": no field "zone"; there are host`,
		"lag>1XB":         `"lag>1XB": "1XB" is no size`,
		"a behind>5 lag>": `"lag>": a value is missing after >`,
		"behind>5parsecs": `"behind>5parsecs": "5parsecs" is no duration`,
		"rate<fast":       `"rate<fast": "fast" is no number`,
		"state>ok":        `"state>ok": state is text: use = or !=`,
		"state=fine":      `"state=fine": state is one of ok behind failing`,
		"cfg=no":          `"cfg=no": cfg is one of`,
		`web "not closed`: `"\"not closed": the quote is not closed`,
		"!":               `"!": nothing to look for`,
		"state!ok":        `"state!ok": after ! comes =`,
		`""`:              `"\"\"": nothing to look for`,
		"lag>1.2.3":       "no size",
		"behind>-5m":      "no duration",
	} {
		_, err := ParseFilter(filter)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want %q, got %v", filter, want, err)
		}
	}
}

func TestFilterBeingTypedLeavesTheUnfinishedTermOut(t *testing.T) {
	t.Parallel()
	for typed, terms := range map[string]int{"web lag": 1, "web lag>": 1, "web !state": 1, "web lag>1": 2, "web x": 2, "": 0, "lag": 0} {
		f, _ := ParseTyping(typed)
		if len(f.terms) != terms {
			t.Errorf("%q: want %d terms, got %d", typed, terms, len(f.terms))
		}
	}
	if _, err := ParseTyping("web lag>"); err == nil {
		t.Error("want the error told while typing")
	}
}

func TestFilterOnFiles(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	s.SetDetail(agent.Status{Host: "web", StateID: "x", Boot: 1, Seq: 1, At: start(), Files: []agent.FileStatus{
		{Path: "/a.log", LogPath: "/a.log", Service: "a", Topic: "t", State: agent.StateBehind, Cause: "limited by send_rate", Limit: 5, Totals: agent.Totals{LagBytes: 9}},
		{Path: "/b.log", LogPath: "/b.log", Service: "b", Topic: "t", State: agent.StateOK, Cause: "caught up"}}}, 0)
	for filter, want := range map[string]int{"a.log": 1, "state!=ok": 1, "cause=limited*": 1, "lag>5": 1, "rate<100": 1, "topic=t": 2, "web": 0} {
		if v := s.Host("web", Query{Filter: must(ParseFilter(filter)), Count: 9}); len(v.Rows) != want || v.Total != 2 {
			t.Errorf("%q: want %d of 2, got %d of %d", filter, want, len(v.Rows), v.Total)
		}
	}
}

func FuzzFilterNeverPanicsAndErrorsNameAPart(f *testing.F) {
	for _, s := range []string{"nginx lag>1GB", `!service="a b"`, "state!=ok", "a=b=c", "!!", `"`, "behind>1d2h", "lag>=1e9", "x!y", "=5", "\xff>\x00"} {
		f.Add(s)
	}
	s, _ := fresh(f)
	sampleFleet(s, 3, 1)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseFilter(text)
		if err != nil {
			bad, ok := err.(*FilterError)
			if !ok || bad.Why == "" || !strings.Contains(text, bad.Part) {
				t.Fatalf("%q: want an error with a part of it, got %v", text, err)
			}
		}
		s.Fleet(Query{Filter: got, Count: 3})
		typing, _ := ParseTyping(text)
		s.Host("web-00000.fra0", Query{Filter: typing, Count: 3})
	})
}
