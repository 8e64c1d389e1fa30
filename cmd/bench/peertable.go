package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// What each promises over a restart. The words are those of its manual and its code.
const (
	agentNote   = "At least once over a restart and a crash: a position is saved after the answer."
	headersNote = "The same with its default headers on every record, which the others do not send."
	rsyslogNote = "Not at least once: imfile saves how far it has read, not how far was answered. A crash loses what waits in " +
		"librdkafka, and so does a clean end whose closeTimeout passes; after a crash up to persistStateInterval lines come twice."
	syslogNGNote = "Not at least once: a line counts as sent when librdkafka has it, so a crash loses what waits there; a clean end " +
		"waits for it, 60 s by default. Its workers take lines in turn, so lines change places within a partition."
	tailNote = "Keeps no position: it begins at the beginning or at the end of the file, so a restart sends everything " +
		"twice or loses what was written meanwhile. It fails for good when the producer gives up."
)

// writePeers prints a table for each compression, and how each sender was set up, in
// Markdown.
func writePeers(out io.Writer, b *bench, results []peerResult) error {
	var w strings.Builder
	fmt.Fprintf(&w, "%d lines, %.0f MB, are in a file before the sender starts; all of them go to the same broker stand-in with acks=all, "+
		"into %d partitions, the line as the value and nothing else. Lines/s count from the first produce request to the last answer; "+
		"CPU is user and system time over the whole life of the process, RSS its peak. ", b.set.lines, float64(b.size)/1e6, b.set.partitions)
	fmt.Fprintf(&w, "Medians of %d; the senders take turns. In the columns beside logagent, that is logagent without headers. ", b.set.runs)
	w.WriteString("fluent-bit and vector are not in Debian and so not here.\n")
	var compressions []string
	for i := range results {
		if c := results[i].compression; !slices.Contains(compressions, c) {
			compressions = append(compressions, c)
			writePeerTable(&w, c, results)
		}
	}
	w.WriteString("\n### How each is set up\n")
	for i := range results {
		if r := &results[i]; r.compression == compressions[0] {
			fmt.Fprintf(&w, "\n**%s.** %s\n\n```\n%s\n```\n", r.name, r.note, strings.TrimSpace(r.config))
		}
	}
	_, err := io.WriteString(out, w.String())
	return err
}

func writePeerTable(w io.Writer, compression string, results []peerResult) {
	fmt.Fprintf(w, "\n### Compression %s\n\n", compression)
	fmt.Fprintln(w, "| sender | version | lines/s | beside logagent | CPU s / M lines | beside logagent | peak RSS | records / batch | lines |")
	fmt.Fprintln(w, "|---|---|--:|--:|--:|--:|--:|--:|---|")
	for i := range results {
		r := &results[i]
		switch {
		case r.compression != compression:
		case r.missing != "":
			fmt.Fprintf(w, "| %s | | | | | | | | %s |\n", r.name, r.missing)
		default:
			lines := "each once"
			if len(r.wrong) > 0 {
				lines = "**" + strings.Join(r.wrong, "; ") + "**"
			}
			fmt.Fprintf(w, "| %s | %s | %.2f M | %s | %.2f | %s | %.0f MB | %.0f | %s |\n", r.name, r.version, r.linesPerSec/1e6,
				ratio(r.rateRatio), r.cpuPerM, ratio(r.cpuRatio), float64(r.peakRSS)/1e6, r.perBatch, lines)
		}
	}
}

// ratio prints a factor; nothing when there is none.
func ratio(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f×", v)
}
