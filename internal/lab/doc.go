// Package lab runs what logagent needs around it inside one process: an etcd, a Kafka
// cluster, hosts whose services write plausible logs, and ledgers that know afterwards
// which lines were written and so which were lost, doubled or made up.
//
// Everything listens on the loopback interface alone, keeps its data in a folder (a
// temporary one unless a folder is given), can be stopped and started again on the same
// address with its data, and prints nothing. Only the demo and tests use this package.
package lab
