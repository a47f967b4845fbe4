package main

import (
	"fmt"

	"github.com/scionproto/scion/pkg/scrypto"
	"github.com/scionproto/scion/pkg/slayers/path"
	"github.com/scionproto/scion/pkg/slayers/path/epic"
	"github.com/scionproto/scion/pkg/slayers/path/onehop"
	"github.com/scionproto/scion/pkg/slayers/path/scion"
)

type pathArgs struct {
	// Path type of the SCION header: 1 SCION, 2 one-hop, 3 EPIC.
	Type uint8    `json:"type"`
	Raw  hexBytes `json:"raw"`
}

type examination struct {
	// Path type after reversal.
	ReversedType uint8    `json:"reversed_type"`
	Reversed     hexBytes `json:"reversed"`
	ReverseError string   `json:"reverse_error,omitempty"`
	// Of SCION paths only: the same by way of the decoded form, and what the position means.
	ReversedDecoded hexBytes `json:"reversed_decoded"`
	Increased       hexBytes `json:"increased"`
	IncreaseError   string   `json:"increase_error,omitempty"`
	Xover           bool     `json:"xover"`
	FirstAfterXover bool     `json:"first_after_xover"`
	Matches         bool     `json:"matches"`
	Length          int      `json:"length"`
	Reencoded       hexBytes `json:"reencoded"`
}

func newPath(kind uint8) (path.Path, error) {
	switch path.Type(kind) {
	case scion.PathType:
		return &scion.Raw{}, nil
	case onehop.PathType:
		return &onehop.Path{}, nil
	case epic.PathType:
		return &epic.Path{}, nil
	}
	return nil, fmt.Errorf("path type %d", kind)
}

// examinePath decodes a path, reverses it and looks at its position. The error is that of decoding.
func examinePath(args pathArgs) (any, error) {
	decoded := func() (path.Path, error) {
		fresh, err := newPath(args.Type)
		if err != nil {
			return nil, err
		}
		// Reversal works in place.
		return fresh, fresh.DecodeFromBytes(append([]byte{}, args.Raw...))
	}
	first, err := decoded()
	if err != nil {
		return nil, err
	}
	out := examination{Length: first.Len()}
	out.Reencoded = encodePath(first)
	if reversed, err := first.Reverse(); err != nil {
		out.ReverseError = err.Error()
	} else {
		out.ReversedType = uint8(reversed.Type())
		out.Reversed = encodePath(reversed)
	}
	if args.Type != uint8(scion.PathType) {
		return out, nil
	}
	again, _ := decoded()
	raw := again.(*scion.Raw)
	out.Xover = raw.IsXover()
	out.FirstAfterXover = raw.IsFirstHopAfterXover()
	out.Matches = raw.CurrINFMatchesCurrHF()
	if full, err := raw.ToDecoded(); err == nil {
		if reversed, err := full.Reverse(); err == nil {
			out.ReversedDecoded = encodePath(reversed)
		}
	}
	if err := raw.IncPath(); err != nil {
		out.IncreaseError = err.Error()
	} else {
		out.Increased = encodePath(raw)
	}
	return out, nil
}

func encodePath(p path.Path) hexBytes {
	out := make([]byte, p.Len())
	if err := p.SerializeTo(out); err != nil {
		return nil
	}
	return out
}

type macArgs struct {
	// Master secret; the hop key is derived from it.
	Master      hexBytes `json:"master"`
	SegID       uint16   `json:"seg_id"`
	Timestamp   uint32   `json:"timestamp"`
	ExpTime     uint8    `json:"exp_time"`
	ConsIngress uint16   `json:"cons_ingress"`
	ConsEgress  uint16   `json:"cons_egress"`
}

// hopMac gives all 16 bytes.
func hopMac(args macArgs) (any, error) {
	factory, err := scrypto.HFMacFactory(args.Master)
	if err != nil {
		return nil, err
	}
	info := path.InfoField{SegID: args.SegID, Timestamp: args.Timestamp}
	hop := path.HopField{ExpTime: args.ExpTime, ConsIngress: args.ConsIngress, ConsEgress: args.ConsEgress}
	return hexBytes(path.FullMAC(factory(), info, hop, nil)), nil
}
