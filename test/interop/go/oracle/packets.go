package main

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/gopacket/gopacket"

	"github.com/scionproto/scion/pkg/addr"
	"github.com/scionproto/scion/pkg/experimental/epic"
	"github.com/scionproto/scion/pkg/slayers"
	"github.com/scionproto/scion/pkg/slayers/path"
	"github.com/scionproto/scion/pkg/slayers/path/empty"
	epicpath "github.com/scionproto/scion/pkg/slayers/path/epic"
	"github.com/scionproto/scion/pkg/spao"
)

type optionIO struct {
	Type uint8    `json:"type"`
	Data hexBytes `json:"data"`
	// x and y of the alignment x·n + y; only read.
	Align [2]uint8 `json:"align"`
}

type scmpIO struct {
	Type       uint8   `json:"type"`
	Code       uint8   `json:"code"`
	Identifier uint16  `json:"identifier"`
	Sequence   uint16  `json:"sequence"`
	Pointer    uint16  `json:"pointer"`
	MTU        uint16  `json:"mtu"`
	IA         addr.IA `json:"ia"`
	// Interface of type 5, 130 and 131; ingress of type 6.
	Interface uint64   `json:"interface"`
	Egress    uint64   `json:"egress"`
	Data      hexBytes `json:"data"`
}

type packetIO struct {
	TrafficClass uint8      `json:"traffic_class"`
	FlowID       uint32     `json:"flow_id"`
	Src          string     `json:"src"`
	Dst          string     `json:"dst"`
	PathType     uint8      `json:"path_type"`
	Path         hexBytes   `json:"path"`
	HopByHop     []optionIO `json:"hop_by_hop"`
	EndToEnd     []optionIO `json:"end_to_end"`
	// "udp", "scmp" or "other".
	L4      string   `json:"l4"`
	SrcPort uint16   `json:"src_port"`
	DstPort uint16   `json:"dst_port"`
	Payload hexBytes `json:"payload"`
	SCMP    *scmpIO  `json:"scmp,omitempty"`
}

type packetOut struct {
	packetIO
	HdrLen     uint8  `json:"hdr_len"`
	PayloadLen uint16 `json:"payload_len"`
	// The same packet written again from the decoded layers, lengths and checksums computed anew.
	Reencoded hexBytes `json:"reencoded"`
	// What an SCMP error quotes, as far as it goes.
	Quote *quoteOut `json:"quote,omitempty"`
}

type quoteOut struct {
	Src string `json:"src"`
	Dst string `json:"dst"`
	L4  string `json:"l4"`
	// UDP source port, or identifier of a quoted echo or traceroute.
	Port  uint16   `json:"port"`
	Path  hexBytes `json:"path"`
	Error string   `json:"error,omitempty"`
}

func options(in []optionIO) (hbh []*slayers.HopByHopOption, e2e []*slayers.EndToEndOption) {
	for _, option := range in {
		hbh = append(hbh, &slayers.HopByHopOption{
			OptType: slayers.OptionType(option.Type), OptData: option.Data, OptAlign: option.Align,
			OptDataLen: uint8(len(option.Data)),
		})
		e2e = append(e2e, &slayers.EndToEndOption{
			OptType: slayers.OptionType(option.Type), OptData: option.Data, OptAlign: option.Align,
			OptDataLen: uint8(len(option.Data)),
		})
	}
	return hbh, e2e
}

func scionLayer(in packetIO) (*slayers.SCION, error) {
	src, err := addr.ParseAddr(in.Src)
	if err != nil {
		return nil, err
	}
	dst, err := addr.ParseAddr(in.Dst)
	if err != nil {
		return nil, err
	}
	layer := &slayers.SCION{
		TrafficClass: in.TrafficClass, FlowID: in.FlowID,
		PathType: path.Type(in.PathType), SrcIA: src.IA, DstIA: dst.IA,
	}
	if err := layer.SetSrcAddr(src.Host); err != nil {
		return nil, err
	}
	if err := layer.SetDstAddr(dst.Host); err != nil {
		return nil, err
	}
	if in.PathType == uint8(empty.PathType) {
		layer.Path = empty.Path{}
		return layer, nil
	}
	if layer.Path, err = newPath(in.PathType); err != nil {
		return nil, err
	}
	return layer, layer.Path.DecodeFromBytes(in.Path)
}

// encodePacket writes a packet with the official serializer.
func encodePacket(in packetIO) (any, error) {
	layer, err := scionLayer(in)
	if err != nil {
		return nil, err
	}
	upper, protocol, err := upperLayers(in, layer)
	if err != nil {
		return nil, err
	}
	layers := []gopacket.SerializableLayer{layer}
	next := &layer.NextHdr
	if in.HopByHop != nil {
		extension := &slayers.HopByHopExtn{}
		extension.Options, _ = options(in.HopByHop)
		*next = slayers.HopByHopClass
		next = &extension.NextHdr
		layers = append(layers, extension)
	}
	if in.EndToEnd != nil {
		extension := &slayers.EndToEndExtn{}
		_, extension.Options = options(in.EndToEnd)
		*next = slayers.End2EndClass
		next = &extension.NextHdr
		layers = append(layers, extension)
	}
	*next = protocol
	return serialize(append(layers, upper...)...)
}

func serialize(layers ...gopacket.SerializableLayer) (hexBytes, error) {
	buffer := gopacket.NewSerializeBuffer()
	fixed := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buffer, fixed, layers...); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

func upperLayers(in packetIO, layer *slayers.SCION) ([]gopacket.SerializableLayer, slayers.L4ProtocolType, error) {
	if in.L4 == "udp" {
		udp := &slayers.UDP{SrcPort: in.SrcPort, DstPort: in.DstPort}
		udp.SetNetworkLayerForChecksum(layer)
		return []gopacket.SerializableLayer{udp, gopacket.Payload(in.Payload)}, slayers.L4UDP, nil
	}
	if in.SCMP == nil {
		return nil, 0, fmt.Errorf("upper layer %q", in.L4)
	}
	m := in.SCMP
	scmp := &slayers.SCMP{TypeCode: slayers.CreateSCMPTypeCode(slayers.SCMPType(m.Type), slayers.SCMPCode(m.Code))}
	scmp.SetNetworkLayerForChecksum(layer)
	layers := []gopacket.SerializableLayer{scmp}
	switch slayers.SCMPType(m.Type) {
	case slayers.SCMPTypeDestinationUnreachable:
		layers = append(layers, &slayers.SCMPDestinationUnreachable{})
	case slayers.SCMPTypePacketTooBig:
		layers = append(layers, &slayers.SCMPPacketTooBig{MTU: m.MTU})
	case slayers.SCMPTypeParameterProblem:
		layers = append(layers, &slayers.SCMPParameterProblem{Pointer: m.Pointer})
	case slayers.SCMPTypeExternalInterfaceDown:
		layers = append(layers, &slayers.SCMPExternalInterfaceDown{IA: m.IA, IfID: m.Interface})
	case slayers.SCMPTypeInternalConnectivityDown:
		layers = append(layers, &slayers.SCMPInternalConnectivityDown{
			IA: m.IA, Ingress: m.Interface, Egress: m.Egress,
		})
	case slayers.SCMPTypeEchoRequest, slayers.SCMPTypeEchoReply:
		layers = append(layers, &slayers.SCMPEcho{Identifier: m.Identifier, SeqNumber: m.Sequence})
	case slayers.SCMPTypeTracerouteRequest, slayers.SCMPTypeTracerouteReply:
		layers = append(layers, &slayers.SCMPTraceroute{
			Identifier: m.Identifier, Sequence: m.Sequence, IA: m.IA, Interface: m.Interface,
		})
	}
	return append(layers, gopacket.Payload(m.Data)), slayers.L4SCMP, nil
}

type decodeArgs struct {
	Raw hexBytes `json:"raw"`
}

// decodePacket reads a packet with the official decoders. Options come without padding.
func decodePacket(args decodeArgs) (any, error) {
	packet := gopacket.NewPacket(args.Raw, slayers.LayerTypeSCION, gopacket.Default)
	if failure := packet.ErrorLayer(); failure != nil {
		return nil, failure.Error()
	}
	scion, ok := packet.Layer(slayers.LayerTypeSCION).(*slayers.SCION)
	if !ok {
		return nil, fmt.Errorf("no SCION header")
	}
	out := packetOut{HdrLen: scion.HdrLen, PayloadLen: scion.PayloadLen}
	out.TrafficClass, out.FlowID, out.PathType = scion.TrafficClass, scion.FlowID, uint8(scion.PathType)
	out.Path = encodePath(scion.Path)
	var err error
	if out.Src, out.Dst, err = addresses(scion); err != nil {
		return nil, err
	}
	layers := []gopacket.SerializableLayer{scion}
	if hbh, ok := packet.Layer(slayers.LayerTypeHopByHopExtn).(*slayers.HopByHopExtn); ok {
		out.HopByHop = []optionIO{}
		for _, option := range hbh.Options {
			if option.OptType > slayers.OptTypePadN {
				out.HopByHop = append(out.HopByHop, optionIO{Type: uint8(option.OptType), Data: option.OptData})
			}
		}
		layers = append(layers, hbh)
	}
	if e2e, ok := packet.Layer(slayers.LayerTypeEndToEndExtn).(*slayers.EndToEndExtn); ok {
		out.EndToEnd = []optionIO{}
		for _, option := range e2e.Options {
			if option.OptType > slayers.OptTypePadN {
				out.EndToEnd = append(out.EndToEnd, optionIO{Type: uint8(option.OptType), Data: option.OptData})
			}
		}
		layers = append(layers, e2e)
	}
	upper := decodeUpper(packet, scion, &out)
	if out.Reencoded, err = serialize(append(layers, upper...)...); err != nil {
		return nil, err
	}
	return out, nil
}

func addresses(scion *slayers.SCION) (src, dst string, err error) {
	srcHost, err := scion.SrcAddr()
	if err != nil {
		return "", "", err
	}
	dstHost, err := scion.DstAddr()
	if err != nil {
		return "", "", err
	}
	return addr.Addr{IA: scion.SrcIA, Host: srcHost}.String(), addr.Addr{IA: scion.DstIA, Host: dstHost}.String(), nil
}

func decodeUpper(packet gopacket.Packet, scion *slayers.SCION, out *packetOut) []gopacket.SerializableLayer {
	if udp, ok := packet.Layer(slayers.LayerTypeSCIONUDP).(*slayers.UDP); ok {
		out.L4, out.SrcPort, out.DstPort, out.Payload = "udp", udp.SrcPort, udp.DstPort, udp.Payload
		udp.SetNetworkLayerForChecksum(scion)
		return []gopacket.SerializableLayer{udp, gopacket.Payload(udp.Payload)}
	}
	scmp, ok := packet.Layer(slayers.LayerTypeSCMP).(*slayers.SCMP)
	if !ok {
		out.L4 = "other"
		return []gopacket.SerializableLayer{gopacket.Payload(lastPayload(packet))}
	}
	out.L4 = "scmp"
	out.SCMP = &scmpIO{Type: uint8(scmp.TypeCode.Type()), Code: uint8(scmp.TypeCode.Code())}
	scmp.SetNetworkLayerForChecksum(scion)
	layers := []gopacket.SerializableLayer{scmp}
	for _, layer := range packet.Layers() {
		if message := scmpMessage(layer, out.SCMP); message != nil {
			layers = append(layers, message)
			out.SCMP.Data = layer.LayerPayload()
		}
	}
	if len(layers) == 1 {
		out.SCMP.Data = scmp.Payload
	}
	if !scmp.TypeCode.InfoMsg() {
		out.Quote = readQuote(out.SCMP.Data)
	}
	return append(layers, gopacket.Payload(out.SCMP.Data))
}

func lastPayload(packet gopacket.Packet) []byte {
	var payload []byte
	for _, layer := range packet.Layers() {
		payload = layer.LayerPayload()
		switch layer.LayerType() {
		case slayers.LayerTypeSCION, slayers.LayerTypeHopByHopExtn, slayers.LayerTypeEndToEndExtn:
		default:
			return payload
		}
	}
	return payload
}

func scmpMessage(layer gopacket.Layer, out *scmpIO) gopacket.SerializableLayer {
	switch m := layer.(type) {
	case *slayers.SCMPDestinationUnreachable:
		return m
	case *slayers.SCMPPacketTooBig:
		out.MTU = m.MTU
		return m
	case *slayers.SCMPParameterProblem:
		out.Pointer = m.Pointer
		return m
	case *slayers.SCMPExternalInterfaceDown:
		out.IA, out.Interface = m.IA, m.IfID
		return m
	case *slayers.SCMPInternalConnectivityDown:
		out.IA, out.Interface, out.Egress = m.IA, m.Ingress, m.Egress
		return m
	case *slayers.SCMPEcho:
		out.Identifier, out.Sequence = m.Identifier, m.SeqNumber
		return m
	case *slayers.SCMPTraceroute:
		out.Identifier, out.Sequence, out.IA, out.Interface = m.Identifier, m.Sequence, m.IA, m.Interface
		return m
	}
	return nil
}

// readQuote parses a quote as the official shim dispatcher does, which must cope with its end being cut off.
func readQuote(raw []byte) *quoteOut {
	out := &quoteOut{}
	packet := gopacket.NewPacket(raw, slayers.LayerTypeSCION, gopacket.Default)
	scion, ok := packet.Layer(slayers.LayerTypeSCION).(*slayers.SCION)
	if !ok {
		out.Error = "no SCION header"
		return out
	}
	out.Path = encodePath(scion.Path)
	var err error
	if out.Src, out.Dst, err = addresses(scion); err != nil {
		out.Error = err.Error()
	}
	for _, layer := range packet.Layers() {
		switch l4 := layer.(type) {
		case *slayers.UDP:
			out.L4, out.Port = "udp", l4.SrcPort
		case *slayers.SCMP:
			out.L4 = "scmp"
		case *slayers.SCMPEcho:
			out.Port = l4.Identifier
		case *slayers.SCMPTraceroute:
			out.Port = l4.Identifier
		}
	}
	return out
}

type optionsArgs struct {
	// "hop_by_hop" or "end_to_end".
	Kind    string     `json:"kind"`
	NextHdr uint8      `json:"next_hdr"`
	Options []optionIO `json:"options"`
}

// encodeOptions writes one extension header with the official padding.
func encodeOptions(args optionsArgs) (any, error) {
	hbh, e2e := options(args.Options)
	if args.Kind == "hop_by_hop" {
		extension := &slayers.HopByHopExtn{Options: hbh}
		extension.NextHdr = slayers.L4ProtocolType(args.NextHdr)
		return serialize(extension)
	}
	extension := &slayers.EndToEndExtn{Options: e2e}
	extension.NextHdr = slayers.L4ProtocolType(args.NextHdr)
	return serialize(extension)
}

type authArgs struct {
	Key       hexBytes `json:"key"`
	SPI       uint32   `json:"spi"`
	Algorithm uint8    `json:"algorithm"`
	Timestamp uint64   `json:"timestamp"`
	// A packet whose upper layer is to be authenticated.
	Packet hexBytes `json:"packet"`
}

type authOut struct {
	Tag    hexBytes `json:"tag"`
	Option hexBytes `json:"option"`
}

// packetAuth computes the tag of a packet with the official pkg/spao, and the data of its option.
func packetAuth(args authArgs) (any, error) {
	packet := gopacket.NewPacket(args.Packet, slayers.LayerTypeSCION, gopacket.Default)
	scion, ok := packet.Layer(slayers.LayerTypeSCION).(*slayers.SCION)
	if !ok {
		return nil, fmt.Errorf("no SCION header")
	}
	protocol, upper := scion.NextHdr, scion.Payload
	if hbh, ok := packet.Layer(slayers.LayerTypeHopByHopExtn).(*slayers.HopByHopExtn); ok {
		protocol, upper = hbh.NextHdr, hbh.Payload
	}
	if e2e, ok := packet.Layer(slayers.LayerTypeEndToEndExtn).(*slayers.EndToEndExtn); ok {
		protocol, upper = e2e.NextHdr, e2e.Payload
	}
	params := slayers.PacketAuthOptionParams{
		SPI: slayers.PacketAuthSPI(args.SPI), Algorithm: slayers.PacketAuthAlg(args.Algorithm),
		TimestampSN: args.Timestamp, Auth: make([]byte, 16),
	}
	option, err := slayers.NewPacketAuthOption(params)
	if err != nil {
		return nil, err
	}
	tag, err := spao.ComputeAuthCMAC(spao.MACInput{
		Key: args.Key, Header: option, ScionLayer: scion, PldType: protocol, Pld: upper,
	}, make([]byte, spao.MACBufferSize), make([]byte, 16))
	if err != nil {
		return nil, err
	}
	copy(option.Authenticator(), tag)
	return authOut{Tag: tag, Option: bytes.Clone(option.OptData)}, nil
}

type epicArgs struct {
	Packet hexBytes `json:"packet"`
	// 16-byte authenticator of the hop.
	Auth hexBytes `json:"auth"`
}

// epicMac computes a hop validation field of an EPIC packet.
func epicMac(args epicArgs) (any, error) {
	packet := gopacket.NewPacket(args.Packet, slayers.LayerTypeSCION, gopacket.Default)
	scion, ok := packet.Layer(slayers.LayerTypeSCION).(*slayers.SCION)
	if !ok {
		return nil, fmt.Errorf("no SCION header")
	}
	route, ok := scion.Path.(*epicpath.Path)
	if !ok {
		return nil, fmt.Errorf("no EPIC path")
	}
	timestamp := binary.BigEndian.Uint32(route.ScionPath.Raw[8:12])
	mac, err := epic.CalcMac(args.Auth, route.PktID, scion, timestamp, nil)
	return hexBytes(bytes.Clone(mac)), err
}
