"""DLMS client made of Gurux's Python library over every transport, driven by dlms-transport.test.ts.

Usage: gurux-transport.py TRANSPORT HOST PORT PLAN      TRANSPORT: tcp, udp, hdlc (inside TCP)
PLAN is JSON: {"maxPdu": N, "gbt": WINDOW or 0, "steps": [...]}
Steps: ["write", SIZE] ["read"] ["rows"] ["entries", FROM, COUNT] ["echo", SIZE] ["list"] ["release"]
Prints one JSON line for the association and one per step; a refusal is {"error": "..."}.
"""

import json
import sys

from gurux_dlms.enums import Authentication, DataType
from gurux_dlms.objects import GXDLMSData, GXDLMSProfileGeneric

from gurux_link import Link

NOTE = "0.0.96.13.0.255"
SECOND = "0.0.96.13.1.255"
ROWS = "1.0.99.1.0.255"


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
    client = Link(transport, host, port, 17, Authentication.LOW, "blocks", plan)
    print(json.dumps({"associated": client.associate()}), flush=True)
    for step in plan["steps"]:
        try:
            print(json.dumps({"result": run(client, step)}), flush=True)
        except Exception as error:
            print(json.dumps({"error": "%s: %s" % (type(error).__name__, error)}), flush=True)


main()
