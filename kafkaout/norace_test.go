//go:build !race

package kafkaout

const underRace = false
