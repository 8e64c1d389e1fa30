// Package kraft runs real Apache Kafka for tests: brokers that are their own controllers,
// as processes of the machine's Java on 127.0.0.1, which never outlive the test that
// started them.
//
//	fetch.sh ── jars in the cache folder ── Start ── Cluster of 1 or 3 Nodes
//	                                                  │ each one process, one folder
//	                                                  ▼
//	                                     Stop, Kill, Pause, Resume, Run again
//
// Every broker listens four times: without anything, with a login, with TLS, with both.
// What is done to topics, leaders, rights and quotas is done through Admin, which works on
// any other cluster as well.
package kraft
