//go:build race

package kafkaout

// underRace is whether sync.Pool forgets at random, which the race detector makes it do.
const underRace = true
