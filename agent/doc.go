// Package agent delivers every complete line of the followed files to a Sink at least
// once and, per file incarnation, in order.
//
//	file ── follower: pread in chunks, cut into whole lines
//	     ── throttle: send_rate lines/s, shared by all files of an entry
//	     ── window:   what is in flight, in file order, bounded per file and per agent
//	     ── Sink.Send(batch) ── Kafka (package kafkaout) or a test's memory
//	     ◄─ batch.Done(verdict)  the window moves committed over the contiguous acked prefix
//	     ── checkpoint: committed positions to disk, at most once a second
//
// The log file itself is the buffer: when something downstream is slow nothing is
// dropped and nothing is queued without bound; lag grows, and Status shows it with its
// cause.
//
// The package knows no Kafka, no etcd and no terminal. Desired state comes in whole
// through Agent.Apply, what is true goes out through Agent.Status, and the plain types in
// service.go, batch.go, status.go, summary.go and question.go are the vocabulary that the
// packages around it share.
package agent
