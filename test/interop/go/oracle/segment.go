package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/scionproto/scion/pkg/addr"
	cryptopb "github.com/scionproto/scion/pkg/proto/crypto"
	"github.com/scionproto/scion/pkg/scrypto"
	"github.com/scionproto/scion/pkg/scrypto/signed"
	seg "github.com/scionproto/scion/pkg/segment"
	"github.com/scionproto/scion/pkg/segment/extensions/digest"
	"github.com/scionproto/scion/pkg/segment/extensions/discovery"
	epicext "github.com/scionproto/scion/pkg/segment/extensions/epic"
	"github.com/scionproto/scion/pkg/segment/extensions/staticinfo"
	"github.com/scionproto/scion/pkg/segment/iface"
	"github.com/scionproto/scion/pkg/slayers/path"
)

// segmentArgs describe a segment in construction order; it is built, signed and encoded by the official packages.
type segmentArgs struct {
	Timestamp int64     `json:"timestamp"`
	SegmentID uint16    `json:"segment_id"`
	Entries   []entryIn `json:"entries"`
}

type entryIn struct {
	IA addr.IA `json:"ia"`
	// Master secret of the AS.
	Master     hexBytes  `json:"master"`
	Ingress    uint16    `json:"ingress"`
	Egress     uint16    `json:"egress"`
	MTU        int       `json:"mtu"`
	IngressMTU int       `json:"ingress_mtu"`
	ExpTime    uint8     `json:"exp_time"`
	Peers      []peerIn  `json:"peers"`
	Static     *staticIn `json:"static"`
	Control    []string  `json:"control"`
	Discovery  []string  `json:"discovery"`
	Epic       bool      `json:"epic"`
}

type peerIn struct {
	IA        addr.IA `json:"ia"`
	Interface uint16  `json:"interface"`
	MTU       int     `json:"mtu"`
	Ingress   uint16  `json:"ingress"`
	ExpTime   uint8   `json:"exp_time"`
}

type staticIn struct {
	LatencyIntra   map[uint64]int64               `json:"latency_intra"`
	LatencyInter   map[uint64]int64               `json:"latency_inter"`
	BandwidthIntra map[uint64]uint64              `json:"bandwidth_intra"`
	BandwidthInter map[uint64]uint64              `json:"bandwidth_inter"`
	Geo            map[uint64]geoOut              `json:"geo"`
	LinkTypes      map[uint64]staticinfo.LinkType `json:"link_types"`
	InternalHops   map[uint64]uint32              `json:"internal_hops"`
	Note           string                         `json:"note"`
}

type signer struct{ key crypto.Signer }

func (s signer) Sign(_ context.Context, msg []byte, associated ...[]byte) (*cryptopb.SignedMessage, error) {
	length := 0
	for _, data := range associated {
		length += len(data)
	}
	return signed.Sign(signed.Header{
		SignatureAlgorithm:   signed.ECDSAWithSHA256,
		Timestamp:            time.Unix(1700000000, 0),
		AssociatedDataLength: length,
	}, msg, s.key, associated...)
}

// buildSegment chains the hop-field MACs with the official functions. The result is an encoded PathSegment.
func buildSegment(args segmentArgs) (any, error) {
	segment, err := seg.CreateSegment(time.Unix(args.Timestamp, 0), args.SegmentID)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	beta := args.SegmentID
	for i, in := range args.Entries {
		factory, err := scrypto.HFMacFactory(in.Master)
		if err != nil {
			return nil, err
		}
		hop := func(beta uint16, ingress uint16, expTime uint8) (seg.HopField, []byte) {
			info := path.InfoField{Timestamp: uint32(args.Timestamp), SegID: beta}
			field := path.HopField{ExpTime: expTime, ConsIngress: ingress, ConsEgress: in.Egress}
			full := append([]byte{}, path.FullMAC(factory(), info, field, nil)...)
			out := seg.HopField{ExpTime: expTime, ConsIngress: ingress, ConsEgress: in.Egress}
			copy(out.MAC[:], full)
			return out, full
		}
		main, full := hop(beta, in.Ingress, in.ExpTime)
		entry := seg.ASEntry{
			Local:    in.IA,
			MTU:      in.MTU,
			HopEntry: seg.HopEntry{HopField: main, IngressMTU: in.IngressMTU},
		}
		if i+1 < len(args.Entries) {
			entry.Next = args.Entries[i+1].IA
		}
		beta ^= binary.BigEndian.Uint16(main.MAC[:])
		detached := epicext.Detached{AuthHopEntry: full[6:]}
		for _, peer := range in.Peers {
			field, full := hop(beta, peer.Ingress, peer.ExpTime)
			entry.PeerEntries = append(entry.PeerEntries, seg.PeerEntry{
				HopField: field, Peer: peer.IA, PeerInterface: peer.Interface, PeerMTU: peer.MTU,
			})
			detached.AuthPeerEntries = append(detached.AuthPeerEntries, full[6:])
		}
		if err := extend(&entry, in, detached); err != nil {
			return nil, err
		}
		if err := segment.AddASEntry(context.Background(), entry, signer{key}); err != nil {
			return nil, err
		}
	}
	if err := segment.Validate(seg.ValidateSegment); err != nil {
		return nil, err
	}
	encoded, err := proto.Marshal(seg.PathSegmentToPB(segment))
	return hexBytes(encoded), err
}

func extend(entry *seg.ASEntry, in entryIn, detached epicext.Detached) error {
	if in.Static != nil {
		entry.Extensions.StaticInfo = in.Static.extension()
	}
	if len(in.Control)+len(in.Discovery) > 0 {
		services := &discovery.Extension{}
		for _, text := range in.Control {
			services.ControlServices = append(services.ControlServices, netip.MustParseAddrPort(text))
		}
		for _, text := range in.Discovery {
			services.DiscoveryServices = append(services.DiscoveryServices, netip.MustParseAddrPort(text))
		}
		entry.Extensions.Discovery = services
	}
	if in.Epic {
		input, err := detached.DigestInput()
		if err != nil {
			return err
		}
		entry.Extensions.Digests = &digest.Extension{}
		entry.Extensions.Digests.Epic.Set(input)
		entry.UnsignedExtensions.EpicDetached = &detached
	}
	return nil
}

func (s *staticIn) extension() *staticinfo.Extension {
	out := &staticinfo.Extension{
		Latency: staticinfo.LatencyInfo{
			Intra: map[iface.ID]time.Duration{}, Inter: map[iface.ID]time.Duration{},
		},
		Bandwidth: staticinfo.BandwidthInfo{
			Intra: map[iface.ID]uint64{}, Inter: map[iface.ID]uint64{},
		},
		Geo:          staticinfo.GeoInfo{},
		LinkType:     staticinfo.LinkTypeInfo{},
		InternalHops: staticinfo.InternalHopsInfo{},
		Note:         s.Note,
	}
	for id, us := range s.LatencyIntra {
		out.Latency.Intra[iface.ID(id)] = time.Duration(us) * time.Microsecond
	}
	for id, us := range s.LatencyInter {
		out.Latency.Inter[iface.ID(id)] = time.Duration(us) * time.Microsecond
	}
	for id, kbit := range s.BandwidthIntra {
		out.Bandwidth.Intra[iface.ID(id)] = kbit
	}
	for id, kbit := range s.BandwidthInter {
		out.Bandwidth.Inter[iface.ID(id)] = kbit
	}
	for id, geo := range s.Geo {
		out.Geo[iface.ID(id)] = staticinfo.GeoCoordinates{
			Latitude: geo.Latitude, Longitude: geo.Longitude, Address: geo.Address,
		}
	}
	for id, kind := range s.LinkTypes {
		out.LinkType[iface.ID(id)] = kind
	}
	for id, hops := range s.InternalHops {
		out.InternalHops[iface.ID(id)] = hops
	}
	return out
}
