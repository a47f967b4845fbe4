package main

import (
	"encoding/hex"

	"google.golang.org/protobuf/proto"

	"github.com/scionproto/scion/pkg/addr"
	cppb "github.com/scionproto/scion/pkg/proto/control_plane"
	seg "github.com/scionproto/scion/pkg/segment"
	"github.com/scionproto/scion/pkg/snet"
	"github.com/scionproto/scion/private/path/combinator"
)

// combineArgs: segments as encoded proto.control_plane.v1.PathSegment.
type combineArgs struct {
	Src  addr.IA    `json:"src"`
	Dst  addr.IA    `json:"dst"`
	Up   []hexBytes `json:"up"`
	Core []hexBytes `json:"core"`
	Down []hexBytes `json:"down"`
	// Keep paths with identical interfaces.
	Identical bool `json:"identical"`
}

type interfaceOut struct {
	IA string `json:"ia"`
	ID uint64 `json:"id"`
}

type geoOut struct {
	Latitude  float32 `json:"latitude"`
	Longitude float32 `json:"longitude"`
	Address   string  `json:"address"`
}

type pathOut struct {
	Raw         hexBytes       `json:"raw"`
	Interfaces  []interfaceOut `json:"interfaces"`
	Fingerprint string         `json:"fingerprint"`
	MTU         uint16         `json:"mtu"`
	// Unix ms; path lifetimes are multiples of half a second.
	ExpiryMs int64 `json:"expiry_ms"`
	Weight   int   `json:"weight"`
	// Microseconds, negative for unset.
	LatencyUs    []int64        `json:"latency_us"`
	Bandwidth    []uint64       `json:"bandwidth_kbit"`
	Geo          []geoOut       `json:"geo"`
	LinkTypes    []string       `json:"link_types"`
	InternalHops []uint32       `json:"internal_hops"`
	Notes        []string       `json:"notes"`
	EpicPHVF     hexBytes       `json:"epic_phvf"`
	EpicLHVF     hexBytes       `json:"epic_lhvf"`
	Discovery    []discoveryOut `json:"discovery"`
}

type discoveryOut struct {
	IA        string   `json:"ia"`
	Control   []string `json:"control"`
	Discovery []string `json:"discovery"`
}

func readSegments(encoded []hexBytes) ([]*seg.PathSegment, error) {
	var segments []*seg.PathSegment
	for _, raw := range encoded {
		var message cppb.PathSegment
		if err := proto.Unmarshal(raw, &message); err != nil {
			return nil, err
		}
		segment, err := seg.SegmentFromPB(&message)
		if err != nil {
			return nil, err
		}
		segments = append(segments, segment)
	}
	return segments, nil
}

// combine runs the official combinator.
func combine(args combineArgs) (any, error) {
	up, err := readSegments(args.Up)
	if err != nil {
		return nil, err
	}
	core, err := readSegments(args.Core)
	if err != nil {
		return nil, err
	}
	down, err := readSegments(args.Down)
	if err != nil {
		return nil, err
	}
	paths := combinator.Combine(args.Src, args.Dst, up, core, down, args.Identical)
	out := make([]pathOut, 0, len(paths))
	for _, path := range paths {
		out = append(out, describe(path))
	}
	return out, nil
}

func describe(path combinator.Path) pathOut {
	metadata := path.Metadata
	out := pathOut{
		Raw:          path.SCIONPath.Raw,
		Interfaces:   []interfaceOut{},
		Fingerprint:  hex.EncodeToString([]byte(path.Fingerprint)),
		MTU:          metadata.MTU,
		ExpiryMs:     metadata.Expiry.UnixMilli(),
		Weight:       path.Weight,
		LatencyUs:    []int64{},
		Bandwidth:    append([]uint64{}, metadata.Bandwidth...),
		Geo:          []geoOut{},
		LinkTypes:    []string{},
		InternalHops: append([]uint32{}, metadata.InternalHops...),
		Notes:        append([]string{}, metadata.Notes...),
		EpicPHVF:     metadata.EpicAuths.AuthPHVF,
		EpicLHVF:     metadata.EpicAuths.AuthLHVF,
		Discovery:    []discoveryOut{},
	}
	for _, crossed := range metadata.Interfaces {
		out.Interfaces = append(out.Interfaces, interfaceOut{crossed.IA.String(), uint64(crossed.ID)})
	}
	for _, latency := range metadata.Latency {
		if latency == snet.LatencyUnset {
			out.LatencyUs = append(out.LatencyUs, -1)
		} else {
			out.LatencyUs = append(out.LatencyUs, latency.Microseconds())
		}
	}
	for _, geo := range metadata.Geo {
		out.Geo = append(out.Geo, geoOut{geo.Latitude, geo.Longitude, geo.Address})
	}
	for _, kind := range metadata.LinkType {
		out.LinkTypes = append(out.LinkTypes, kind.String())
	}
	seen := map[addr.IA]bool{}
	for _, crossed := range metadata.Interfaces {
		known, ok := metadata.DiscoveryInformation[crossed.IA]
		if !ok || seen[crossed.IA] {
			continue
		}
		seen[crossed.IA] = true
		entry := discoveryOut{IA: crossed.IA.String(), Control: []string{}, Discovery: []string{}}
		for _, service := range known.ControlServices {
			entry.Control = append(entry.Control, service.String())
		}
		for _, service := range known.DiscoveryServices {
			entry.Discovery = append(entry.Discovery, service.String())
		}
		out.Discovery = append(out.Discovery, entry)
	}
	return out
}
