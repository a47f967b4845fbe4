"""DLMS client made of the dlms-cosem library, driven by dlms.test.ts and the interop matrix.

Usage: dlms-cosem-client.py HOST PORT PLAN   PLAN is JSON: {"password": "..." or null, "security": {...}, "steps": [...]}
Steps: ["list"] ["profile", OBIS, FROM, TO, COLUMNS] ["read", CLASS, OBIS, ATTRIBUTE] ["action", OBIS, METHOD] ["message", TEXT] ["release"]
["view"] ["registers"] ["entries", OBIS, FIRST, LAST] ["clock", ISO] ["image", HEX, SKIP] for the matrix, with "transport" and "gbt"
Prints one JSON line for the association and one per step; a refusal is {"error": "..."}.
"""

import json
import logging
import sys
import traceback
from datetime import datetime, timezone

import structlog

from dlms_cosem import cosem, dlms_data, enumerations, io, security, time, utils
from dlms_cosem.client import DlmsClient
from dlms_cosem.io import BlockingTcpIO, HdlcTransport, TcpTransport
from dlms_cosem.cosem.capture_object import CaptureObject
from dlms_cosem.cosem.selective_access import EntryDescriptor, RangeDescriptor
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


def invoke(client, interface, obis, method, data):
    reference = cosem.CosemMethod(enumerations.CosemInterface(interface), cosem.Obis.from_string(obis), method)
    return client.action(reference, data)


def objects(client):
    parsed = AssociationObjectListParser.parse_bytes(client.get(attribute(15, "0.0.40.0.0.255", 2)))
    return [[int(item.interface), item.logical_name.to_string(separator=".")] for item in parsed]


def registers(client):
    values = {}
    for interface, name in objects(client):
        if interface != 3:
            continue
        scaler, unit = utils.parse_as_dlms_data(client.get(attribute(3, name, 3)))
        value = utils.parse_as_dlms_data(client.get(attribute(3, name, 2)))
        values[name] = [value * 10**scaler, unit, scaler]
    return values


IMAGE = "0.0.44.0.0.255"


def image(client, octets, skip):
    """The whole transfer: initiate, all blocks but some, ask what is missing, send that, verify."""

    def read(number):
        return utils.parse_as_dlms_data(client.get(attribute(18, IMAGE, number)))

    def send(number):
        block = octets[number * size : (number + 1) * size]
        data = dlms_data.OctetStringData(block).to_bytes()
        invoke(client, 18, IMAGE, 2, b"\x02\x02\x06" + number.to_bytes(4, "big") + data)

    size = read(2)
    data = dlms_data.OctetStringData(b"firmware").to_bytes()
    invoke(client, 18, IMAGE, 1, b"\x02\x02" + data + b"\x06" + len(octets).to_bytes(4, "big"))
    count = -(-len(octets) // size)
    for number in range(count):
        if number not in skip:
            send(number)
    missing = []
    while read(4) < count:
        missing.append(read(4))
        send(missing[-1])
    blocks = len(read(3))
    invoke(client, 18, IMAGE, 3, b"\x0f\x00")
    return [missing, blocks, read(6), read(7)[0][0]]


def rows_of(data, columns):
    parser = ProfileGenericBufferParser(capture_objects=[attribute(*each) for each in columns], capture_period=15)
    rows = parser.parse_bytes(data)
    return [[int(c.value.timestamp()) if isinstance(c.value, datetime) else c.value for c in row] for row in rows]


def run(client, step):
    kind = step[0]
    if kind in ("list", "view"):
        return objects(client)
    if kind == "registers":
        return registers(client)
    if kind == "entries":
        wanted = EntryDescriptor(from_entry=step[2], to_entry=step[2] + step[3] - 1, from_selected_value=1, to_selected_value=0)
        return rows_of(client.get(attribute(7, step[1], 2), access_descriptor=wanted), step[4])
    if kind == "clock":
        value = dlms_data.OctetStringData(time.datetime_to_bytes(datetime.fromisoformat(step[1]))).to_bytes()
        answer = client.set(attribute(8, "0.0.1.0.0.255", 2), value)
        if answer.result != enumerations.DataAccessResult.SUCCESS:
            raise RuntimeError("result %s" % answer.result)
        return "done"
    if kind == "image":
        return image(client, bytes.fromhex(step[1]), step[2])
    if kind == "profile":
        clock = CaptureObject(cosem_attribute=attribute(8, "0.0.1.0.0.255", 2), data_index=0)
        begin, end = (datetime.fromtimestamp(second, timezone.utc) for second in step[2:4])
        wanted = RangeDescriptor(restricting_object=clock, from_value=begin, to_value=end)
        data = client.get(attribute(7, step[1], 2), access_descriptor=wanted)
        return rows_of(data, step[4])
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
        octets = dlms_data.OctetStringData(step[1].encode("utf-8")).to_bytes()
        answer = client.set(attribute(1, "0.0.96.13.0.255", 2), octets)
        if answer.result != enumerations.DataAccessResult.SUCCESS:
            raise RuntimeError("result %s" % answer.result)
        return "done"
    if kind == "release":
        client.release_association()
        return "done"
    raise ValueError(kind)


def refusal(error):
    """The library's own words, and where it says them."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = "%s: %s (%s in %s)" % (type(error).__name__, error, frame.name, frame.filename.rpartition("/")[2])
    return json.dumps({"error": text})


def main():
    try:
        drive()
    except AttributeError as error:
        print(refusal(error), flush=True)


def drive():
    host, port, plan = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    password = plan["password"]
    kind = plan.get("transport", "tcp")
    # What the library lacks says so in its own words.
    channel = (io.BlockingUdpIO if kind == "udp" else BlockingTcpIO)(host=host, port=port, timeout=5)
    sap = 1 if "security" in plan else 16 if password is None else 17
    carrier = HdlcTransport if kind == "hdlc" else TcpTransport
    transport = carrier(client_logical_address=sap, server_logical_address=1, io=channel)
    authentication = (
        NoSecurityAuthentication() if password is None else LowLevelSecurityAuthentication(secret=password.encode())
    )
    options = {}
    keys = plan.get("security")
    if keys:
        authentication = HighLevelSecurityGmacAuthentication(challenge_length=16)
        if keys["mechanism"] != "gmac":
            authentication = getattr(security, "HighLevelSecurity%sAuthentication" % keys["mechanism"].capitalize())()
        options = {
            "encryption_key": bytes.fromhex(keys["unicast"]),
            "authentication_key": bytes.fromhex(keys["authentication"]),
            "client_system_title": bytes.fromhex(keys["title"]),
            "client_initial_invocation_counter": keys["counter"],
        }
    client = DlmsClient(transport=transport, authentication=authentication, **options)
    if plan.get("gbt"):
        client.dlms_connection.conformance.general_block_transfer = True
    client.connect()
    try:
        client.associate()
        print(json.dumps({"associated": True}), flush=True)
    except Exception as error:
        print(refusal(error), flush=True)
        client.disconnect()
        return
    for step in plan["steps"]:
        try:
            print(json.dumps({"result": run(client, step)}), flush=True)
        except Exception as error:
            print(refusal(error), flush=True)
    client.disconnect()


main()
