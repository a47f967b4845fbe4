package main

import (
	"encoding/json"
	"net"

	"github.com/scionproto/scion/pkg/addr"
	"github.com/scionproto/scion/pkg/segment/iface"
	"github.com/scionproto/scion/pkg/snet"
	"github.com/scionproto/scion/private/path/pathpol"
)

// policyArgs: the policy as its JSON text, and the interfaces of each path to be judged.
type policyArgs struct {
	Policy json.RawMessage  `json:"policy"`
	Paths  [][]interfaceOut `json:"paths"`
}

// policyPath is as much of a path as policies look at.
type policyPath struct {
	snet.Path
	number     int
	interfaces []snet.PathInterface
}

func (p policyPath) Metadata() *snet.PathMetadata {
	return &snet.PathMetadata{Interfaces: p.interfaces}
}

func (p policyPath) Source() addr.IA {
	if len(p.interfaces) == 0 {
		return 0
	}
	return p.interfaces[0].IA
}

func (p policyPath) Destination() addr.IA {
	if len(p.interfaces) == 0 {
		return 0
	}
	return p.interfaces[len(p.interfaces)-1].IA
}

func (p policyPath) UnderlayNextHop() *net.UDPAddr { return nil }
func (p policyPath) Dataplane() snet.DataplanePath { return nil }

func readInterfaces(in []interfaceOut) ([]snet.PathInterface, error) {
	var out []snet.PathInterface
	for _, i := range in {
		ia, err := addr.ParseIA(i.IA)
		if err != nil {
			return nil, err
		}
		out = append(out, snet.PathInterface{IA: ia, ID: iface.ID(i.ID)})
	}
	return out, nil
}

// policy gives the numbers of the paths that the policy keeps. The error is that of reading the policy.
func policy(args policyArgs) (any, error) {
	var read pathpol.Policy
	if err := json.Unmarshal(args.Policy, &read); err != nil {
		return nil, err
	}
	var paths []snet.Path
	for number, in := range args.Paths {
		interfaces, err := readInterfaces(in)
		if err != nil {
			return nil, err
		}
		paths = append(paths, policyPath{number: number, interfaces: interfaces})
	}
	kept := []int{}
	for _, path := range read.Filter(paths) {
		kept = append(kept, path.(policyPath).number)
	}
	return kept, nil
}

type predicateArgs struct {
	Text string `json:"text"`
}

// predicate gives the official text of a hop predicate.
func predicate(args predicateArgs) (any, error) {
	read, err := pathpol.HopPredicateFromString(args.Text)
	if err != nil {
		return nil, err
	}
	return read.String(), nil
}
