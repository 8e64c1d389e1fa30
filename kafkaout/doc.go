// Package kafkaout brings batches of lines to Kafka: every record of a batch is
// acknowledged by all in-sync replicas before its verdict says so, records of one
// partition arrive in the order they were sent, and none arrives twice unless the
// cluster forgot the producer or refuses idempotent writing, which is counted.
//
//	Send ── topic ── partition queue (spans of batches)
//	                   │  one record batch on the way per partition; what arrives
//	                   ▼  meanwhile is merged into the next
//	                 connection: thread_num per broker, each with its own partitions,
//	                   │  its own goroutine and its own socket; one request carries
//	                   ▼  every ready partition
//	                 broker
//	Done ◄── answer: acknowledged, refused for certain, or outcome unknown
//
// What has an unknown outcome (connection cut, timeout, a leader replaced before the replicas
// had it) is sent again exactly as it was, under the same producer id and sequence, until a
// broker has answered. What was refused for certain goes back into the queue, where a
// recall may still take it.
//
// One more goroutine keeps the map of the cluster: topics, leaders, producer ids. It is
// the only one that may wait for a broker that has nothing to do with the data at hand.
// It asks through connections of its own instead of a sarama.Client, because the answer
// then names the error of every topic, asks for all topics in use in one request and for
// no other, and connects to one broker rather than to all.
//
// # What sarama does, and what it is not asked to do
//
// sarama opens the sockets, speaks versions and logins, gives correlation ids and reads the
// answers. It does not encode the lines: for that it would make every record batch twice
// in new memory. encoder makes the request in memory that a connection uses again and
// again, and splice, the socket that sarama's dialer hands it, puts it in the place of an
// empty request that sarama is given to send. Nothing of that reaches into the library: a
// version of it that writes anything but one whole empty produce request where one is
// expected gets an error, and nothing of the lines is written.
//
// # A partition without a leader
//
// New batches of entries with partition random go to partitions that can be written. What
// already stands in the queue of one that has lost its leader, and of no other copy, stays
// there until it has one again, although nothing of it was ever written: later batches of
// the same files have gone to the other partitions meanwhile, and the older ones behind
// them would break the order within a partition. The file then moves on until its window is
// full, and waits with that cause; its committed position stays before the oldest of them.
// A topic with two or more replicas gets a new leader within seconds.
//
// # Lines longer than a topic takes
//
// A topic whose limit is below what the agent cuts shows itself by MESSAGE_TOO_LARGE.
// Record batches are then halved, and a single record is treated as its entry's oversize
// says. With split, the pieces carry the header part: 1, 2, 3 … and the last one the
// header parts with their number. A piece that is itself too large (because the agent had
// already split the line, or because it compresses worse than the one before) is split
// again in the same way, one level down: piece 3 becomes 3.1, 3.2 …, and the last of
// those carries parts with the count of its own level. Where a piece ends several levels
// at once, parts names the counts of all of them, outermost first, so that the last
// number always belongs to the last number in part: part 3.2 with parts 3.2 is the second
// of two pieces of the third of three pieces.
//
// StatusWriter and StatusReader carry the status topic: short summaries of every host,
// and details of those that a console looks at.
package kafkaout
