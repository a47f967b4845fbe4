"""A client of Gurux's Python library on a socket: sends requests, and feeds it what comes back until an answer is whole."""

import socket

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import Conformance, InterfaceType
from gurux_dlms.secure import GXDLMSSecureClient

GBT = 0xE0


class Link:
    """Of the plan it takes "maxPdu", "maxInfo" (of HDLC) and "gbt" (window of general block transfer)."""

    def __init__(self, transport, host, port, sap, mechanism, password, plan):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
        self.socket.settimeout(5)
        self.socket.connect((host, port))
        self.is_hdlc = transport == "hdlc"
        interface = InterfaceType.HDLC if self.is_hdlc else InterfaceType.WRAPPER
        self.dlms = GXDLMSSecureClient(True, sap, 1, mechanism, password, interface)
        if "maxPdu" in plan:
            self.dlms.maxReceivePDUSize = plan["maxPdu"]
        if plan.get("maxInfo"):
            self.dlms.hdlcSettings.maxInfoTX = plan["maxInfo"]
            self.dlms.hdlcSettings.maxInfoRX = plan["maxInfo"]
        if plan.get("gbt"):
            self.dlms.proposedConformance |= Conformance.GENERAL_BLOCK_TRANSFER
            self.dlms.gbtWindowSize = plan["gbt"]

    def exchange(self, request, reply):
        """Sends one frame, unless it only waits, and feeds received bytes to the library until the answer is whole."""
        if request is not None:
            self.socket.sendall(bytes(request))
        received = GXByteBuffer()
        notify = GXReplyData()
        while True:
            chunk = self.socket.recv(4096)
            if not chunk:
                raise ConnectionError("closed by the server")
            received.set(chunk)
            if self.dlms.getData(received, reply, notify):
                break
        if reply.error != 0:
            raise RuntimeError("result %d" % reply.error)

    def send(self, frames):
        reply = GXReplyData()
        frames = frames if isinstance(frames, list) else [frames]
        for i, frame in enumerate(frames):
            reply.clear()
            self.exchange(frame, reply)
            if frame[8] == GBT and i + 1 < len(frames):
                # An acknowledgement within the request's own blocks; the library would answer it.
                continue
            while reply.isMoreData():
                self.exchange(None if reply.isStreaming() else self.dlms.receiverReady(reply), reply)
        return reply

    def associate(self):
        if self.is_hdlc:
            reply = GXReplyData()
            self.exchange(self.dlms.snrmRequest(), reply)
            self.dlms.parseUAResponse(reply.data)
        reply = self.send(self.dlms.aarqRequest())
        self.dlms.parseAareResponse(reply.data)
        return {"conformance": int(self.dlms.negotiatedConformance), "maxPdu": self.dlms.maxReceivePDUSize}

    def read(self, item, attribute):
        reply = self.send(self.dlms.read(item, attribute))
        return self.dlms.updateValue(item, attribute, reply.value)
