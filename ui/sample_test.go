package ui

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"logagent/agent"
	"logagent/etcdcfg/change"
	"logagent/ui/store"
)

// sampleStart is the fixed clock of the tests.
func sampleStart() time.Time { return time.Date(2026, 11, 22, 14, 2, 31, 0, time.UTC) }

// history is ten minutes in steps of ten seconds: the lag goes from one value to another.
func history(rnd *rand.Rand, in, out float64, from, to int64) *agent.History {
	h := &agent.History{StepSeconds: 10}
	for i := range 60 {
		wave := 1 + 0.12*math.Sin(float64(i)/5) + 0.1*(rnd.Float64()-0.5)
		h.In = append(h.In, uint32(in*wave))
		o := out
		if out >= in { // nothing holds it back
			o = in * wave
		}
		h.Out = append(h.Out, uint32(o))
		h.Lag = append(h.Lag, max(from+(to-from)*int64(i+1)/60, 0))
	}
	return h
}

func docKey(name string) string {
	if group, ok := strings.CutPrefix(name, "@"); ok {
		return "/logagent.groups/" + group
	}
	return "/logagent/" + name + "/logconfig"
}

func nameOf(key string) (string, bool) {
	if group, ok := strings.CutPrefix(key, "/logagent.groups/"); ok {
		return "@" + group, true
	}
	return strings.CutSuffix(strings.TrimPrefix(key, "/logagent/"), "/logconfig")
}

// sample is a small fleet as an operator meets it: most is well, a few are not.
func sample(now func() time.Time) *store.Store {
	rnd := rand.New(rand.NewPCG(7, 11))
	s := store.New(store.Options{Now: now, NameOf: nameOf})
	boot := now().Add(-12 * 24 * time.Hour)
	doc := func(host string, rev int64, entries ...agent.Service) {
		s.SetDocument(host, agent.Document{Key: docKey(host), Revision: rev, Services: entries})
	}
	sum := func(host string, rev int64, m agent.Summary, from, to int64, age time.Duration) {
		m.StateID, m.Boot, m.Seq, m.AtMS, m.Running = "s-"+host, 3, 1000, now().Add(-age).UnixMilli(), rev
		m.Lag = to
		m.History = history(rnd, float64(m.In), float64(m.Out), from, to)
		s.SetLive(host, &agent.Live{Host: host, StateID: m.StateID, Boot: 3, Version: "1.4.0", PID: 811, Started: boot})
		s.SetSummary(host, m, age)
	}
	nginx := agent.Service{Service: "nginx", LogPath: "/var/log/nginx/access.log", Topic: "nginx-access", SendRate: 5000}
	app := agent.Service{Service: "app", LogPath: "/var/log/app/*.log", Topic: "app", SendRate: 7000}
	audit := agent.Service{Service: "audit", LogPath: "/var/log/app/audit.log", Topic: "audit"}
	batch := agent.Service{Service: "batch", LogPath: "/var/log/old/batch.log", Topic: "batch", SendRate: 1000}

	doc("web-0187.fra1", 48209, nginx, audit, batch)
	sum("web-0187.fra1", 48209, agent.Summary{Files: 9, Behind: 2, In: 21400, Out: 8000, Throttle: 63, BehindS: 370}, 1_200_000_000, 8_410_000_000, time.Second)
	doc("web-0042.fra2", 48100, nginx, app)
	sum("web-0042.fra2", 48100, agent.Summary{Files: 12, Behind: 1, In: 13100, Out: 14000, Limit: 14000, Throttle: 12, BehindS: -224}, 9_800_000_000, 5_020_000_000, time.Second)
	doc("api-0007.fra1", 48208, agent.Service{Service: "api", LogPath: "/srv/api/log/api.log", Topic: "api", SendRate: 6000})
	sum("api-0007.fra1", 48150, agent.Summary{Files: 6, Behind: 1, In: 9900, Out: 6000, Limit: 6000, Throttle: 39, BehindS: 125}, 0, 2_900_000_000, time.Second)
	doc("web-0188.fra1", 48101, agent.Service{Service: "nginx", LogPath: "/var/log/nginx/access.log", Topic: "nginx-access", SendRate: 20000})
	sum("web-0188.fra1", 48101, agent.Summary{Files: 9, In: 8300, Out: 8300, Limit: 20000, BehindS: 2}, 90_000_000, 88_000_000, 2*time.Second)
	doc("web-0200.fra2", 48101, nginx)
	sum("web-0200.fra2", 48101, agent.Summary{Files: 9, In: 8100, Out: 8000, Limit: 5000}, 0, 40_000, 252*time.Second)
	s.SetDocument("mail-0001.ber1", agent.Document{Key: docKey("mail-0001.ber1"), Revision: 47990, Services: []agent.Service{audit},
		Refused: &agent.Refusal{Revision: 48205, Error: "entry 1: topic: \"mail log\" is no legal topic name\nentry 2: log_path: \"maillog\" is not absolute"}})
	sum("mail-0001.ber1", 47990, agent.Summary{Files: 1, In: 12, Out: 12, Refused: 48205}, 0, 0, time.Second)
	doc("new-0001.fra1", 48210, nginx)
	for i := 1; i <= 24; i++ {
		h := fmt.Sprintf("db-%04d.fra%d", i, 1+i%2)
		doc(h, int64(47000+i), agent.Service{Service: "postgres", LogPath: "/var/log/postgresql/postgresql.log", Topic: "postgres", SendRate: 2000})
		in := int64(40 + 37*i%600)
		sum(h, int64(47000+i), agent.Summary{Files: 2, In: in, Out: in, Limit: 2000}, 0, 0, time.Second)
	}
	s.SetRevision(48213)
	s.SetEtcd(agent.LinkStatus{Up: true, Since: boot})
	s.SetKafka(agent.LinkStatus{Up: true, Since: boot, LatencyMS: 4})
	return s
}

// webDetail is the detail of the sample's worst host.
func webDetail(now time.Time, seq uint64, rev, limit int64) agent.Status {
	rnd := rand.New(rand.NewPCG(3, 5))
	nginx := agent.Service{Service: "nginx", LogPath: "/var/log/nginx/access.log", Topic: "nginx-access", SendRate: limit}
	audit := agent.Service{Service: "audit", LogPath: "/var/log/app/audit.log", Topic: "audit"}
	batch := agent.Service{Service: "batch", LogPath: "/var/log/old/batch.log", Topic: "batch", SendRate: 1000}
	st := agent.Status{
		Host: "web-0187.fra1", StateID: "s-web-0187.fra1", Boot: 3, Seq: seq, At: now, Version: "1.4.0", PID: 811,
		Started:   now.Add(-12*24*time.Hour - 3*time.Hour),
		Documents: []agent.DocumentStatus{{Key: docKey("web-0187.fra1"), Running: rev}},
		Etcd:      agent.LinkStatus{Up: true}, Kafka: agent.LinkStatus{Up: true, LatencyMS: 4},
		Process: agent.ProcessStatus{CPUPercent: 3.1, RSSBytes: 41_000_000},
		Totals: agent.Totals{Lines: 9e8, LagBytes: 8_410_000_000, InLinesPerSec: 21400, OutLinesPerSec: 8000, InBytesPerSec: 21400 * 180,
			OutBytesPerSec: 8000 * 180, BehindSeconds: 370, ThrottledShare: 0.63},
		Services: []agent.ServiceStatus{
			{Service: nginx, State: agent.StateBehind, Cause: "limited by send_rate", FileCount: 1, Totals: agent.Totals{LagBytes: 7_900_000_000, ThrottledShare: 0.63}},
			{Service: audit, State: agent.StateOK, Cause: "caught up", FileCount: 1},
			{Service: batch, State: agent.StateFailing, Cause: "unreadable (permission denied)"},
		},
	}
	st.Files = []agent.FileStatus{
		{Path: "/var/log/nginx/access.log", LogPath: nginx.LogPath, Service: "nginx", Topic: nginx.Topic, State: agent.StateBehind,
			Cause: "limited by send_rate", Limit: limit, Inode: 5242901, SizeBytes: 126_885_001_216, ReadBytes: 118_402_560_000,
			CommittedBytes: 118_402_551_040, RotatedFiles: 1, RotatedBytes: 22_000_000,
			Totals: agent.Totals{Lines: 8e8, LagBytes: 7_900_000_000, InLinesPerSec: 18200, OutLinesPerSec: float64(limit), InBytesPerSec: 18200 * 180,
				OutBytesPerSec: float64(limit) * 180, BehindSeconds: 358, ThrottledShare: 0.63},
			History: history(rnd, 18200, 5000, 1_000_000_000, 7_900_000_000)},
		{Path: "/var/log/app/audit.log", LogPath: audit.LogPath, Service: "audit", Topic: audit.Topic, State: agent.StateOK, Cause: "caught up",
			Inode: 5242977, SizeBytes: 88_120_004, ReadBytes: 88_120_004, CommittedBytes: 88_120_004,
			Totals:  agent.Totals{Lines: 1e6, InLinesPerSec: 88, OutLinesPerSec: 88, InBytesPerSec: 9000, OutBytesPerSec: 9000},
			History: history(rnd, 88, 88, 0, 0)},
	}
	return st
}

// samplePast is what became of the document of the sample's worst host.
func samplePast(now time.Time) map[string][]change.Record {
	doc := func(nginx, audit string) []byte {
		return []byte(`[{"service":"nginx","log_path":"/var/log/nginx/access.log","topic":"nginx-access","send_rate":` + nginx + `},
 {"service":"audit","log_path":"/var/log/app/audit.log","topic":"audit","send_rate":` + audit + `}]`)
	}
	batch := []byte(strings.TrimSuffix(string(doc("5000", "0")), "]") + `,
 {"service":"batch","log_path":"/var/log/old/batch.log","topic":"batch","send_rate":1000}]`)
	states := [][]byte{nil, doc("4000", "100"), doc("4000", "100"), doc("4000", "0"), doc("5000", "0"), batch}
	states[2] = []byte(strings.ReplaceAll(string(states[1]), "\n ", " "))
	alice := change.Who{User: "alice", Host: "bastion-1", SSH: "10.20.0.7"}
	bob := change.Who{User: "bob", Host: "adm-2"}
	made := []change.Record{
		{ID: "01JD0000000000000000000001", At: now.Add(-400 * 24 * time.Hour), Who: bob, Kind: change.KindApply, Note: "first rollout of the web hosts", Revision: 31004},
		{ID: "01JD0000000000000000000002", At: now.Add(-50 * time.Hour), Who: alice, Kind: change.KindEdit, Revision: 44120, Base: 31004},
		{ID: "01JD0000000000000000000003^", At: now.Add(-26 * time.Minute), Kind: change.KindOutside, Revision: 47100, Base: 44120},
		{ID: "01JD0000000000000000000003", At: now.Add(-26 * time.Minute), Who: alice, Kind: change.KindRate, Revision: 48190, Base: 47100},
		{ID: "01JD0000000000000000000004", At: now.Add(-4 * time.Minute), Who: bob, Kind: change.KindEdit, Note: "nightly batch job, INC-2231", Revision: 48209, Base: 48190},
	}
	var out []change.Record
	for i, r := range made {
		r.Version, r.Name = change.RecordVersion, "web-0187.fra1"
		r.Before, r.After = change.Pack(states[i]), change.Pack(states[i+1])
		out = append([]change.Record{r}, out...)
	}
	return map[string][]change.Record{"web-0187.fra1": out}
}
