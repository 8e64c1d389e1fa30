// Package sinktest holds what every agent.Sink is measured by: Run, a conformance suite,
// and Memory, a sink without a broker that passes it and that tests of the agent steer.
//
// The package knows plain agent types only, so that tests of any package may import it.
package sinktest
