package main

import (
	"fmt"

	"github.com/scionproto/scion/pkg/addr"
)

type addressArgs struct {
	// "ia", "host", "address" or "endpoint".
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// address reads a text and writes it again in the official form.
func address(args addressArgs) (any, error) {
	switch args.Kind {
	case "ia":
		ia, err := addr.ParseIA(args.Text)
		return ia.String(), err
	case "host":
		host, err := addr.ParseHost(args.Text)
		if err != nil {
			return nil, err
		}
		return host.String(), nil
	case "address":
		parsed, err := addr.ParseAddr(args.Text)
		if err != nil {
			return nil, err
		}
		return parsed.String(), nil
	case "endpoint":
		parsed, port, err := addr.ParseAddrPort(args.Text)
		if err != nil {
			return nil, err
		}
		return addr.FormatAddrPort(parsed, port), nil
	}
	return nil, fmt.Errorf("kind %q", args.Kind)
}
