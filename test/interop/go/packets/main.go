// Packets reads a capture of SCION traffic and prints what the official decoders (scionproto slayers) see in it, one
// JSON object per packet, with every hop-field MAC of the path checked against the ASes' master keys.
//
//	packets -pcap FILE -key IA=BASE64 [-key IA=BASE64 ...]
//
// The capture has link type RAW: IPv4, UDP, SCION. A key is the content of an AS's keys/master0.key.
//
// A path does not say which AS a hop belongs to, so a MAC counts as verified when it fits one of the keys; the field "as"
// of a hop names that AS. SegIDs are taken as in flight on the link: the current hop is checked as the router that
// receives the packet would, and the accumulator is then walked along the segment in both directions. Exit status 0 when
// the file could be read, whatever it holds; 2 for wrong arguments.
package main

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"hash"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/scionproto/scion/pkg/addr"
	"github.com/scionproto/scion/pkg/scrypto"
	"github.com/scionproto/scion/pkg/slayers"
	"github.com/scionproto/scion/pkg/slayers/path"
	"github.com/scionproto/scion/pkg/slayers/path/scion"
)

type keyFlags map[string]string

func (k keyFlags) String() string { return "" }
func (k keyFlags) Set(text string) error {
	ia, key, found := strings.Cut(text, "=")
	if !found {
		return fmt.Errorf("expected IA=BASE64")
	}
	k[ia] = key
	return nil
}

type hopOut struct {
	ExpTime      uint8  `json:"exp_time"`
	ConsIngress  uint16 `json:"cons_ingress"`
	ConsEgress   uint16 `json:"cons_egress"`
	Mac          string `json:"mac"`
	IngressAlert bool   `json:"ingress_alert"`
	EgressAlert  bool   `json:"egress_alert"`
	SegID        uint16 `json:"seg_id"`
	As           string `json:"as"`
	Verified     bool   `json:"verified"`
}

type infoOut struct {
	ConsDir   bool   `json:"cons_dir"`
	Peer      bool   `json:"peer"`
	SegID     uint16 `json:"seg_id"`
	Timestamp uint32 `json:"timestamp"`
}

type packetOut struct {
	Number       int       `json:"number"`
	Error        string    `json:"error,omitempty"`
	UnderlaySrc  string    `json:"underlay_src"`
	UnderlayDst  string    `json:"underlay_dst"`
	Version      uint8     `json:"version"`
	TrafficClass uint8     `json:"traffic_class"`
	FlowID       uint32    `json:"flow_id"`
	NextHdr      string    `json:"next_hdr"`
	HdrLen       uint8     `json:"hdr_len"`
	PayloadLen   uint16    `json:"payload_len"`
	PathType     string    `json:"path_type"`
	SrcIA        string    `json:"src_ia"`
	DstIA        string    `json:"dst_ia"`
	SrcHost      string    `json:"src_host"`
	DstHost      string    `json:"dst_host"`
	CurrInf      uint8     `json:"curr_inf"`
	CurrHf       uint8     `json:"curr_hf"`
	SegLen       []int     `json:"seg_len,omitempty"`
	Infos        []infoOut `json:"infos,omitempty"`
	Hops         []hopOut  `json:"hops,omitempty"`
	L4           string    `json:"l4"`
	SrcPort      uint16    `json:"src_port"`
	DstPort      uint16    `json:"dst_port"`
	ScmpType     uint8     `json:"scmp_type"`
	ScmpCode     uint8     `json:"scmp_code"`
	Pointer      uint16    `json:"pointer"`
	DownIA       string    `json:"down_ia,omitempty"`
	DownIfID     uint64    `json:"down_interface"`
	Identifier   uint16    `json:"identifier"`
	Sequence     uint16    `json:"sequence"`
	Payload      string    `json:"payload"`
	ChecksumOK   bool      `json:"checksum_ok"`
	MacsOK       bool      `json:"macs_ok"`
}

// asKey makes the MACs of the AS that owns it.
type asKey struct {
	ia  string
	mac func() hash.Hash
}

func main() {
	keys := keyFlags{}
	file := flag.String("pcap", "", "capture `FILE`, link type RAW")
	flag.Var(keys, "key", "`IA=BASE64`, master key of an AS; may be repeated")
	flag.Parse()
	if *file == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	hopKeys, err := deriveKeys(keys)
	if err != nil {
		fail(err)
	}
	input, err := os.Open(*file)
	if err != nil {
		fail(err)
	}
	defer input.Close()
	if err := readAll(input, hopKeys); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "packets:", err)
	os.Exit(2)
}

func deriveKeys(masters keyFlags) ([]asKey, error) {
	var keys []asKey
	for ia, text := range masters {
		if _, err := addr.ParseIA(ia); err != nil {
			return nil, err
		}
		master, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("key of %s: %w", ia, err)
		}
		factory, err := scrypto.HFMacFactory(master)
		if err != nil {
			return nil, fmt.Errorf("key of %s: %w", ia, err)
		}
		keys = append(keys, asKey{ia, factory})
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i].ia < keys[j].ia })
	return keys, nil
}

func readAll(input io.Reader, keys []asKey) error {
	reader, err := pcapgo.NewReader(input)
	if err != nil {
		return err
	}
	if reader.LinkType() != layers.LinkTypeRaw {
		return fmt.Errorf("link type %v, expected RAW", reader.LinkType())
	}
	encoder := json.NewEncoder(os.Stdout)
	for number := 0; ; number++ {
		data, _, err := reader.ReadPacketData()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		out := packetOut{Number: number}
		if err := decode(data, keys, &out); err != nil {
			out.Error = err.Error()
		}
		if err := encoder.Encode(out); err != nil {
			return err
		}
	}
}

// decode takes a captured IPv4 packet apart down to the payload.
func decode(data []byte, keys []asKey, out *packetOut) error {
	outer := gopacket.NewPacket(data, layers.LayerTypeIPv4, gopacket.NoCopy)
	ip, ok := outer.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok {
		return fmt.Errorf("no IPv4 packet")
	}
	if onesComplement(ip.Contents) != 0xffff {
		return fmt.Errorf("wrong IPv4 checksum")
	}
	udp, ok := outer.Layer(layers.LayerTypeUDP).(*layers.UDP)
	if !ok {
		return fmt.Errorf("no UDP datagram")
	}
	out.UnderlaySrc = fmt.Sprintf("%s:%d", ip.SrcIP, udp.SrcPort)
	out.UnderlayDst = fmt.Sprintf("%s:%d", ip.DstIP, udp.DstPort)
	raw := udp.Payload
	packet := gopacket.NewPacket(raw, slayers.LayerTypeSCION, gopacket.NoCopy)
	layer, ok := packet.Layer(slayers.LayerTypeSCION).(*slayers.SCION)
	if !ok {
		if failure := packet.ErrorLayer(); failure != nil {
			return failure.Error()
		}
		return fmt.Errorf("no SCION packet")
	}
	if err := header(layer, out); err != nil {
		return err
	}
	if err := pathFields(layer, keys, out); err != nil {
		return err
	}
	return upper(packet, layer, out)
}

func header(layer *slayers.SCION, out *packetOut) error {
	out.Version = layer.Version
	out.TrafficClass = layer.TrafficClass
	out.FlowID = layer.FlowID
	out.NextHdr = layer.NextHdr.String()
	out.HdrLen = layer.HdrLen
	out.PayloadLen = layer.PayloadLen
	out.PathType = layer.PathType.String()
	out.SrcIA = layer.SrcIA.String()
	out.DstIA = layer.DstIA.String()
	src, err := layer.SrcAddr()
	if err != nil {
		return err
	}
	dst, err := layer.DstAddr()
	if err != nil {
		return err
	}
	out.SrcHost = src.String()
	out.DstHost = dst.String()
	if int(layer.PayloadLen) != len(layer.Payload) {
		return fmt.Errorf("payload length %d, %d bytes present", layer.PayloadLen, len(layer.Payload))
	}
	return nil
}

func pathFields(layer *slayers.SCION, keys []asKey, out *packetOut) error {
	if layer.PathType != scion.PathType {
		out.MacsOK = layer.Path.Len() == 0
		return nil
	}
	raw, ok := layer.Path.(*scion.Raw)
	if !ok {
		return fmt.Errorf("unexpected path %T", layer.Path)
	}
	decoded, err := raw.ToDecoded()
	if err != nil {
		return err
	}
	out.CurrInf = decoded.PathMeta.CurrINF
	out.CurrHf = decoded.PathMeta.CurrHF
	for _, length := range decoded.PathMeta.SegLen {
		out.SegLen = append(out.SegLen, int(length))
	}
	for _, info := range decoded.InfoFields {
		out.Infos = append(out.Infos, infoOut{info.ConsDir, info.Peer, info.SegID, info.Timestamp})
	}
	verifyPath(decoded, keys, out)
	return nil
}

// verifyPath checks every hop with the accumulator that its segment has there.
func verifyPath(decoded *scion.Decoded, keys []asKey, out *packetOut) {
	segIDs := accumulators(decoded)
	out.MacsOK = true
	first := 0
	for i, info := range decoded.InfoFields {
		length := int(decoded.PathMeta.SegLen[i])
		for h := first; h < first+length; h++ {
			hop := decoded.HopFields[h]
			input := info
			input.SegID = segIDs[h]
			result := hopOut{
				ExpTime:      hop.ExpTime,
				ConsIngress:  hop.ConsIngress,
				ConsEgress:   hop.ConsEgress,
				Mac:          hex.EncodeToString(hop.Mac[:]),
				IngressAlert: hop.IngressRouterAlert,
				EgressAlert:  hop.EgressRouterAlert,
				SegID:        segIDs[h],
			}
			for _, candidate := range keys {
				sum := path.MAC(candidate.mac(), input, hop, nil)
				if subtle.ConstantTimeCompare(sum[:], hop.Mac[:]) == 1 {
					result.Verified = true
					result.As = candidate.ia
					break
				}
			}
			out.MacsOK = out.MacsOK && result.Verified
			out.Hops = append(out.Hops, result)
		}
		first += length
	}
}

// accumulators gives the SegID with which each hop field was authenticated, seen from a packet that is on a link and
// about to enter the AS of its current hop.
func accumulators(decoded *scion.Decoded) []uint16 {
	segIDs := make([]uint16, len(decoded.HopFields))
	current := int(decoded.PathMeta.CurrHF)
	first := 0
	for i, info := range decoded.InfoFields {
		last := first + int(decoded.PathMeta.SegLen[i]) - 1
		fill(decoded, info, first, last, current, segIDs)
		first = last + 1
	}
	return segIDs
}

// fill works through one segment in the direction of travel. With ConsDir the SegID in the packet belongs to the hop that
// comes next, or to the last one when the segment lies behind. Against construction every AS takes its own MAC out on
// entering, so the SegID belongs to the hop that was left last, or to the first one before that.
func fill(decoded *scion.Decoded, info path.InfoField, first, last, current int, segIDs []uint16) {
	next := func(segID uint16, hop int) uint16 {
		// A hop at a peering link is no part of the chain.
		if info.Peer && (hop == peerHop(decoded, first)) {
			return segID
		}
		mac := decoded.HopFields[hop].Mac
		return segID ^ (uint16(mac[0])<<8 | uint16(mac[1]))
	}
	if info.ConsDir {
		anchor := min(max(current, first), last)
		segID := info.SegID
		for h := anchor; h <= last; h++ {
			segIDs[h] = segID
			segID = next(segID, h)
		}
		segID = info.SegID
		for h := anchor - 1; h >= first; h-- {
			segID = next(segID, h)
			segIDs[h] = segID
		}
		return
	}
	anchor := min(max(current-1, first), last)
	segID := info.SegID
	for h := anchor; h <= last; h++ {
		if h > anchor {
			segID = next(segID, h)
		}
		segIDs[h] = segID
	}
	segID = info.SegID
	for h := anchor - 1; h >= first; h-- {
		segID = next(segID, h+1)
		segIDs[h] = segID
	}
}

// peerHop is the hop of the segment starting at first that lies at the peering link.
func peerHop(decoded *scion.Decoded, first int) int {
	if first == 0 {
		return int(decoded.PathMeta.SegLen[0]) - 1
	}
	return first
}

func upper(packet gopacket.Packet, layer *slayers.SCION, out *packetOut) error {
	if failure := packet.ErrorLayer(); failure != nil {
		return failure.Error()
	}
	if udp, ok := packet.Layer(slayers.LayerTypeSCIONUDP).(*slayers.UDP); ok {
		out.L4 = "udp"
		out.SrcPort = udp.SrcPort
		out.DstPort = udp.DstPort
		out.Payload = hex.EncodeToString(udp.Payload)
		out.ChecksumOK = checksumOK(layer, append(append([]byte{}, udp.Contents...), udp.Payload...), slayers.L4UDP)
		return nil
	}
	scmp, ok := packet.Layer(slayers.LayerTypeSCMP).(*slayers.SCMP)
	if !ok {
		return fmt.Errorf("no UDP or SCMP inside")
	}
	out.L4 = "scmp"
	out.ScmpType = uint8(scmp.TypeCode.Type())
	out.ScmpCode = uint8(scmp.TypeCode.Code())
	out.ChecksumOK = checksumOK(layer, append(append([]byte{}, scmp.Contents...), scmp.Payload...), slayers.L4SCMP)
	scmpFields(packet, out)
	return nil
}

func scmpFields(packet gopacket.Packet, out *packetOut) {
	for _, layer := range packet.Layers() {
		switch message := layer.(type) {
		case *slayers.SCMPParameterProblem:
			out.Pointer = message.Pointer
			out.Payload = hex.EncodeToString(message.Payload)
		case *slayers.SCMPExternalInterfaceDown:
			out.DownIA = message.IA.String()
			out.DownIfID = message.IfID
			out.Payload = hex.EncodeToString(message.Payload)
		case *slayers.SCMPDestinationUnreachable:
			out.Payload = hex.EncodeToString(message.Payload)
		case *slayers.SCMPEcho:
			out.Identifier = message.Identifier
			out.Sequence = message.SeqNumber
			out.Payload = hex.EncodeToString(message.Payload)
		case *slayers.SCMPTraceroute:
			out.Identifier = message.Identifier
			out.Sequence = message.Sequence
			out.DownIA = message.IA.String()
			out.DownIfID = message.Interface
		}
	}
}

// checksumOK lets the official serializer compute the checksum over the same bytes and compares.
func checksumOK(layer *slayers.SCION, l4 []byte, protocol slayers.L4ProtocolType) bool {
	options := gopacket.SerializeOptions{ComputeChecksums: true, FixLengths: true}
	buffer := gopacket.NewSerializeBuffer()
	at := 6
	if protocol == slayers.L4SCMP {
		at = 2
	}
	if len(l4) < at+2 {
		return false
	}
	var err error
	if protocol == slayers.L4UDP {
		var udp slayers.UDP
		if err = udp.DecodeFromBytes(l4, gopacket.NilDecodeFeedback); err != nil {
			return false
		}
		udp.SetNetworkLayerForChecksum(layer)
		err = gopacket.SerializeLayers(buffer, options, &udp, gopacket.Payload(udp.Payload))
	} else {
		var scmp slayers.SCMP
		if err = scmp.DecodeFromBytes(l4, gopacket.NilDecodeFeedback); err != nil {
			return false
		}
		scmp.SetNetworkLayerForChecksum(layer)
		err = gopacket.SerializeLayers(buffer, options, &scmp, gopacket.Payload(scmp.Payload))
	}
	if err != nil {
		return false
	}
	return string(buffer.Bytes()[at:at+2]) == string(l4[at:at+2])
}

func onesComplement(data []byte) uint32 {
	var sum uint32
	for i := 0; i+1 < len(data); i += 2 {
		sum += uint32(data[i])<<8 | uint32(data[i+1])
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return sum
}
