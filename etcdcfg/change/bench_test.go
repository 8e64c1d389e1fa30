package change

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// large is a document of 200 entries as people lay it out.
func large(rate int) []byte {
	var b strings.Builder
	b.WriteString("[\n")
	for i := range 200 {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "  {\n    \"service\": \"service-%03d\",\n    \"log_path\": \"/var/log/service-%03d/*.log\",\n    \"topic\": \"logs-%03d\",\n"+
			"    \"send_rate\": %d,\n    \"exclude\": [\"*.gz\", \"/var/log/service-%03d/old/**\"],\n    \"owner\": {\"team\": \"t%d\"}\n  }", i, i, i, rate, i, i%7)
	}
	b.WriteString("\n]\n")
	return []byte(b.String())
}

func BenchmarkDiffOf200EntriesThatAllDiffer(b *testing.B) {
	before, after := large(1000), large(2000)
	b.SetBytes(int64(len(before) + len(after)))
	b.ReportAllocs()
	for b.Loop() {
		if d, err := Diff(before, after); err != nil || len(d) != 200 {
			b.Fatal(len(d), err)
		}
	}
}

func BenchmarkDiffOf200EntriesOfWhichOneDiffers(b *testing.B) {
	before := large(1000)
	after, err := Apply("", before, []Edit{set("/var/log/service-117/*.log", "send_rate", "5")})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(before) + len(after)))
	b.ReportAllocs()
	for b.Loop() {
		if d, err := Diff(before, after); err != nil || len(d) != 1 {
			b.Fatal(len(d), err)
		}
	}
}

func BenchmarkApplyOneEditTo200Entries(b *testing.B) {
	raw := large(1000)
	was, _ := EntryAt(raw, "/var/log/service-117/*.log")
	edits := []Edit{set("/var/log/service-117/*.log", "send_rate", "5").with(map[string]json.RawMessage{"/var/log/service-117/*.log": was})}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Apply("web-01", raw, edits); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApply200EditsTo200Entries(b *testing.B) {
	raw, after := large(1000), large(2000)
	edits, err := Between(raw, after)
	if err != nil || len(edits) != 200 {
		b.Fatal(len(edits), err)
	}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Apply("web-01", raw, edits); err != nil {
			b.Fatal(err)
		}
	}
}
