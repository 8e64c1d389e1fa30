package main

import "time"

// allRows is what is measured, in the order of the report.
func allRows(s scale) []row {
	compressed := func(name, codec string, rate, cpu *aim) row {
		r := backlogRow(name, "The same with kafka_compression = "+codec+".", rate, cpu, func(s *settings) { s.compression = codec })
		r.proof = provesCompressed(codec)
		return r
	}
	return []row{
		backlogRow("backlog", "One file of access-log lines, written before the start; kafka_compression = none, default headers, 8 partitions.",
			atLeast(1_600_000), atMost(0.7), func(*settings) {}),
		backlogRow("backlog, no headers", "The same with headers empty.",
			atLeast(1_900_000), atMost(0.55), func(s *settings) { s.headers = "" }),
		compressed("backlog, snappy", "snappy", atLeast(1_200_000), atMost(1.0)),
		compressed("backlog, zstd", "zstd", atLeast(900_000), nil),
		compressed("backlog, lz4", "lz4", nil, nil),
		compressed("backlog, gzip", "gzip", nil, nil),
		backlogRow("3 ms away", "The backlog, with each answer to a produce request held back for 3 ms. Record batches are of up to 900 kB, the agent's own size.",
			atLeast(1_500_000), nil, func(s *settings) { s.delay = 3 * time.Millisecond }),
		backlogRow("3 ms away, one partition", "The same where the topic has one partition.",
			nil, nil, func(s *settings) { s.delay, s.partitions = 3*time.Millisecond, 1 }),
		deadRow(s, "broker dead, nothing listens", refused),
		deadRow(s, "broker dead, silent", silenced),
		manyRow(),
		liveRow(s),
		idleRow(s),
		trickleRow(s),
		rateRow(s),
	}
}
