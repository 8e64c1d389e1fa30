package main

import (
	"fmt"
	"strings"
)

// unknownKey says that a key is ignored, and what was likely meant.
func unknownKey(name string) string {
	if likely := nearestKey(name); likely != "" {
		return fmt.Sprintf("unknown key %s is ignored; did you mean %s?", name, likely)
	}
	return fmt.Sprintf("unknown key %s is ignored", name)
}

// nearestKey is the key that name is likely meant to be; "" where none is near. Other
// agents' words for the same thing are known too.
func nearestKey(name string) string {
	folded := strings.Trim(strings.ToLower(strings.NewReplacer("-", "_", ".", "_", " ", "_").Replace(name)), "_")
	others := map[string]string{
		"brokers": "kafka_addr", "kafka_brokers": "kafka_addr", "bootstrap_servers": "kafka_addr", "kafka_servers": "kafka_addr",
		"endpoints": "etcd_addr", "etcd_endpoints": "etcd_addr", "hostname": "host", "host_id": "host",
		"threads": "thread_num", "workers": "thread_num", "loglevel": "level", "log_level": "level",
		"logfile": "log", "log_file": "log", "logpath": "log", "data_dir": "state_dir", "compression": "kafka_compression",
		"collect_log_key": "etcd_watch_key", "etcd_key_format": "etcd_watch_key",
	}
	if k, ok := others[folded]; ok {
		return k
	}
	if len(folded) > 2*len("kafka_sasl_password_file") {
		return ""
	}
	best, bestCost := "", len(folded)
	for _, k := range keys() {
		if cost := editDistance(folded, k.name); cost < bestCost {
			best, bestCost = k.name, cost
		}
	}
	// Every third letter may be wrong; of short names a single one.
	if bestCost > max(1, len(folded)/3) {
		return ""
	}
	return best
}

// editDistance counts the letters to insert, delete, replace or swap with their neighbour
// to make b of a.
func editDistance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
