"""DLMS client made of Gurux's Python library over every transport, driven by dlms-transport.test.ts.

Usage: gurux-transport.py TRANSPORT HOST PORT PLAN      TRANSPORT: tcp, udp, hdlc (inside TCP)
PLAN is JSON: {"maxPdu": N, "gbt": WINDOW or 0, "steps": [...]}
Steps: ["write", SIZE] ["read"] ["rows"] ["entries", FROM, COUNT] ["echo", SIZE] ["list"] ["release"]
Prints one JSON line for the association and one per step; a refusal is {"error": "..."}.
"""

import json
import socket
import sys

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import Authentication, Conformance, DataType, InterfaceType
from gurux_dlms.objects import GXDLMSData, GXDLMSProfileGeneric
from gurux_dlms.secure import GXDLMSSecureClient

NOTE = "0.0.96.13.0.255"
SECOND = "0.0.96.13.1.255"
ROWS = "1.0.99.1.0.255"
GBT = 0xE0


class Client:
    def __init__(self, transport, host, port, plan):
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.settimeout(5)
        self.socket.connect((host, port))
        self.is_hdlc = transport == "hdlc"
        interface = InterfaceType.HDLC if self.is_hdlc else InterfaceType.WRAPPER
        self.dlms = GXDLMSSecureClient(True, 17, 1, Authentication.LOW, "blocks", interface)
        self.dlms.maxReceivePDUSize = plan["maxPdu"]
        if plan.get("maxInfo"):
            self.dlms.hdlcSettings.maxInfoTX = plan["maxInfo"]
            self.dlms.hdlcSettings.maxInfoRX = plan["maxInfo"]
        if plan.get("gbt"):
            self.dlms.proposedConformance |= Conformance.GENERAL_BLOCK_TRANSFER
            self.dlms.gbtWindowSize = plan["gbt"]

    def exchange(self, request, reply):
        """Sends one frame, unless it only waits, and feeds received bytes to the library until an answer is whole."""
        if request is not None:
            self.socket.sendall(bytes(request))
        received = GXByteBuffer()
        notify = GXReplyData()
        while True:
            received.set(self.socket.recv(4096))
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


def octets(size):
    return bytes(i & 255 for i in range(size))


def run(client, step):
    note = GXDLMSData(NOTE)
    if step[0] == "write":
        note.value = octets(step[1])
        note.setDataType(2, DataType.OCTET_STRING)
        client.send(client.dlms.write(note, 2))
        return "done"
    if step[0] == "read":
        client.send(client.dlms.read(note, 2))
        return bytes(client.read(note, 2)).hex()
    if step[0] == "rows":
        return len(client.read(GXDLMSProfileGeneric(ROWS), 2))
    if step[0] == "entries":
        profile = GXDLMSProfileGeneric(ROWS)
        reply = client.send(client.dlms.readRowsByEntry(profile, step[1], step[2]))
        return [row[0] for row in reply.value]
    if step[0] == "echo":
        reply = client.send(client.dlms.method(note, 2, octets(step[1]), DataType.OCTET_STRING))
        return bytes(reply.value).hex() if reply.value is not None else None
    if step[0] == "list":
        second = GXDLMSData(SECOND)
        items = [(note, 2), (second, 2)]
        values = []
        for frame in client.dlms.readList(items):
            values += client.send(frame).value
        return [bytes(value).hex() if value else None for value in values]
    if step[0] == "release":
        client.send(client.dlms.releaseRequest())
        if client.is_hdlc:
            client.send(client.dlms.disconnectRequest(True))
        return "done"
    raise ValueError(step[0])


def main():
    transport, host, port, plan = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
    client = Client(transport, host, port, plan)
    print(json.dumps({"associated": client.associate()}), flush=True)
    for step in plan["steps"]:
        try:
            print(json.dumps({"result": run(client, step)}), flush=True)
        except Exception as error:
            print(json.dumps({"error": "%s: %s" % (type(error).__name__, error)}), flush=True)


main()
