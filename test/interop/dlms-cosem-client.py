"""DLMS client made of the dlms-cosem library, driven by dlms.test.ts over TCP.

Usage: dlms-cosem-client.py HOST PORT PLAN   PLAN is JSON: {"password": "..." or null, "security": {...}, "steps": [...]}
Steps: ["list"] ["profile", OBIS, FROM, TO, COLUMNS] ["read", CLASS, OBIS, ATTRIBUTE] ["action", OBIS, METHOD] ["message", TEXT] ["release"]
Prints one JSON line for the association and one per step; a refusal is {"error": "..."}.
"""

import json
import logging
import sys
from datetime import datetime, timezone

import structlog

from dlms_cosem import cosem, enumerations, utils
from dlms_cosem.client import DlmsClient
from dlms_cosem.io import BlockingTcpIO, TcpTransport
from dlms_cosem.cosem.capture_object import CaptureObject
from dlms_cosem.cosem.selective_access import RangeDescriptor
from dlms_cosem.parsers import AssociationObjectListParser, ProfileGenericBufferParser
from dlms_cosem.security import (
    HighLevelSecurityGmacAuthentication,
    LowLevelSecurityAuthentication,
    NoSecurityAuthentication,
)

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def attribute(interface, obis, number):
    return cosem.CosemAttribute(enumerations.CosemInterface(interface), cosem.Obis.from_string(obis), number)


def plain(value):
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def run(client, step):
    kind = step[0]
    if kind == "list":
        items = AssociationObjectListParser.parse_bytes(client.get(attribute(15, "0.0.40.0.0.255", 2)))
        return [[int(item.interface), item.logical_name.to_string(separator=".")] for item in items]
    if kind == "profile":
        clock = CaptureObject(cosem_attribute=attribute(8, "0.0.1.0.0.255", 2), data_index=0)
        begin, end = (datetime.fromtimestamp(second, timezone.utc) for second in step[2:4])
        wanted = RangeDescriptor(restricting_object=clock, from_value=begin, to_value=end)
        data = client.get(attribute(7, step[1], 2), access_descriptor=wanted)
        parser = ProfileGenericBufferParser(capture_objects=[attribute(*each) for each in step[4]], capture_period=15)
        rows = parser.parse_bytes(data)
        return [[int(c.value.timestamp()) if isinstance(c.value, datetime) else c.value for c in row] for row in rows]
    if kind == "read":
        data = client.get(attribute(step[1], step[2], step[3]))
        return plain(utils.parse_as_dlms_data(data))
    if kind == "action":
        method = cosem.CosemMethod(
            enumerations.CosemInterface.DISCONNECT_CONTROL, cosem.Obis.from_string(step[1]), step[2]
        )
        client.action(method, b"\x0f\x00")
        return "done"
    if kind == "message":
        octets = step[1].encode("utf-8")
        answer = client.set(attribute(1, "0.0.96.13.0.255", 2), b"\x09" + bytes([len(octets)]) + octets)
        if answer.result != enumerations.DataAccessResult.SUCCESS:
            raise RuntimeError("result %s" % answer.result)
        return "done"
    if kind == "release":
        client.release_association()
        return "done"
    raise ValueError(kind)


def main():
    host, port, plan = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    password = plan["password"]
    io = BlockingTcpIO(host=host, port=port, timeout=5)
    sap = 1 if "security" in plan else 16 if password is None else 17
    transport = TcpTransport(client_logical_address=sap, server_logical_address=1, io=io)
    authentication = (
        NoSecurityAuthentication() if password is None else LowLevelSecurityAuthentication(secret=password.encode())
    )
    options = {}
    security = plan.get("security")
    if security:
        authentication = HighLevelSecurityGmacAuthentication(challenge_length=16)
        options = {
            "encryption_key": bytes.fromhex(security["unicast"]),
            "authentication_key": bytes.fromhex(security["authentication"]),
            "client_system_title": bytes.fromhex(security["title"]),
            "client_initial_invocation_counter": security["counter"],
        }
    client = DlmsClient(transport=transport, authentication=authentication, **options)
    client.connect()
    try:
        client.associate()
        print(json.dumps({"associated": True}), flush=True)
    except Exception as error:
        print(json.dumps({"error": "%s: %s" % (type(error).__name__, error)}), flush=True)
        client.disconnect()
        return
    for step in plan["steps"]:
        try:
            print(json.dumps({"result": run(client, step)}), flush=True)
        except Exception as error:
            print(json.dumps({"error": "%s: %s" % (type(error).__name__, error)}), flush=True)
    client.disconnect()


main()
