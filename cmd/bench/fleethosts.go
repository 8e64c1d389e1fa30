package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"logagent/agent"
)

// The hosts of the measured fleet. Each follows three entries of its own, one of its part of
// the fleet and one of all.
const (
	fleetParts = 10    // groups that share the hosts among them
	fleetAll   = "all" // the group of all hosts
	fleetRate  = 5000  // send_rate of every entry before any change
	fleetFiles = 2     // each entry matches so many
)

func fleetHost(i int) string { return fmt.Sprintf("web-%05d.fra1", i) }

// fleetPart is the group of every host whose number leaves the same rest.
func fleetPart(i int) string { return fmt.Sprintf("part-%d", i%fleetParts) }

// fleetGroups are those of one host, in their order.
func fleetGroups(i int) []string { return []string{fleetPart(i), fleetAll} }

var fleetServices = []string{"nginx", "app", "audit"}

// fleetEntries is how many entries a host has: its own, and one of each group.
var fleetEntries = len(fleetServices) + len(fleetGroups(0))

func fleetEntry(service string) agent.Service {
	return agent.Service{Service: service, LogPath: "/var/log/" + service + "/*.log", Topic: service + "-lines", SendRate: fleetRate}
}

// fleetDocument is what a host's or a group's key holds at first.
func fleetDocument(services ...string) []byte {
	entries := make([]agent.Service, len(services))
	for i, s := range services {
		entries[i] = fleetEntry(s)
	}
	b, err := json.MarshalIndent(entries, "", "  ")
	if err != nil { // plain numbers and strings cannot fail
		panic(fmt.Sprintf("document of %v: %v", services, err))
	}
	return append(b, '\n')
}

// fleetDocuments are all documents of a fleet by name, a group's with its @.
func fleetDocuments(hosts int) map[string][]byte {
	out := map[string][]byte{"@" + fleetAll: fleetDocument("auth")}
	own := fleetDocument(fleetServices...)
	for i := range hosts {
		out[fleetHost(i)] = own
		if part := "@" + fleetPart(i); out[part] == nil {
			out[part] = fleetDocument(fleetPart(i))
		}
	}
	return out
}

// pick returns n hosts of a fleet, none of them twice, the same for the same seed.
func pick(hosts, n int, seed uint64) []int {
	return rand.New(rand.NewPCG(seed, 1)).Perm(hosts)[:min(n, hosts)]
}
