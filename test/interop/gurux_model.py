"""Steps of gurux-client.py that read the whole model: attributes by their declared rights, profiles, clock, image.

["everything"] ["profile", OBIS, FROM, TO, COLUMNS or null] ["entries", OBIS, FIRST, COUNT] ["clock", ISO] ["image", HEX, SKIP]
["script", OBIS, NUMBER] ["push", OBIS, DESTINATION]
"""

from datetime import datetime, timezone

from gurux_dlms import GXDateTime
from gurux_dlms.enums import DataType, ObjectType
from gurux_dlms.objects.enums import MessageType, ServiceType
from gurux_dlms.objects import (
    GXDLMSClock,
    GXDLMSImageTransfer,
    GXDLMSProfileGeneric,
    GXDLMSPushSetup,
    GXDLMSScriptTable,
)


def plain(value):
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, GXDateTime):
        return int(value.value.timestamp())
    if isinstance(value, (int, float, bool, type(None))):
        return value
    return str(value)


def profile_of(client, obis):
    item = GXDLMSProfileGeneric(obis)
    client.read(item, 3)
    return item


def columns_of(item, names):
    if names is None:
        return None
    return [(obj, capture) for obj, capture in item.captureObjects if obj.logicalName in names]


def rows_of(client, item, frames, columns=None):
    reply = client.send(frames)
    client.dlms.updateValue(item, 2, reply.value, columns)
    return plain(item.buffer)


def everything(client):
    """Reads every attribute that the association view says is readable; returns the failures and the number read."""
    client.dlms.parseObjects(client.send(client.dlms.getObjectsRequest()).data, True)
    failures, count = [], 0
    for item in client.dlms.objects:
        for index in item.getAttributeIndexToRead(True):
            if not int(item.getAccess(index)) & 1:
                continue
            if item.objectType == ObjectType.PROFILE_GENERIC and index == 2:
                continue
            try:
                client.read(item, index)
                count += 1
            except Exception as error:
                failures.append([int(item.objectType), item.logicalName, index, "%s: %s" % (type(error).__name__, error)])
    return [count, failures]


def image(client, octets, skip):
    """The whole transfer: initiate, all blocks but some, ask what is missing, send that, verify."""
    item = GXDLMSImageTransfer("0.0.44.0.0.255")
    client.read(item, 2)
    client.read(item, 5)
    client.send(item.imageTransferInitiate(client.dlms, "firmware", len(octets)))
    blocks = item.imageBlockTransfer(client.dlms, octets, [0])
    for number, frames in enumerate(blocks):
        if number not in skip:
            client.send(frames)
    missing = []
    while True:
        client.read(item, 4)
        if item.imageFirstNotTransferredBlockNumber >= len(blocks):
            break
        missing.append(item.imageFirstNotTransferredBlockNumber)
        client.send(blocks[missing[-1]])
    client.read(item, 3)
    client.send(item.imageVerify(client.dlms))
    client.read(item, 6)
    client.read(item, 7)
    info = item.imageActivateInfo[0]
    return [missing, len(item.imageTransferredBlocksStatus), int(item.imageTransferStatus), info.size]


def run_model(client, step):
    """Runs a step of this file; None when it is none."""
    kind = step[0]
    if kind == "everything":
        return everything(client)
    if kind == "profile":
        item = profile_of(client, step[1])
        begin, end = (datetime.fromtimestamp(second, timezone.utc) for second in step[2:4])
        columns = columns_of(item, step[4])
        return rows_of(client, item, client.dlms.readRowsByRange(item, begin, end, columns), columns)
    if kind == "entries":
        item = profile_of(client, step[1])
        return rows_of(client, item, client.dlms.readRowsByEntry(item, step[2], step[3]))
    if kind == "clock":
        item = GXDLMSClock("0.0.1.0.0.255")
        item.time = GXDateTime(datetime.fromisoformat(step[1]))
        client.send(client.dlms.write(item, 2))
        return "done"
    if kind == "image":
        return image(client, bytes.fromhex(step[1]), step[2])
    if kind == "script":
        client.send(client.dlms.method(GXDLMSScriptTable(step[1]), 1, step[2], DataType.UINT16))
        return "done"
    if kind == "push":
        item = GXDLMSPushSetup(step[1])
        item.service, item.destination, item.message = ServiceType.UDP, step[2], MessageType.COSEM_APDU
        client.send(client.dlms.write(item, 3))
        client.send(client.dlms.method(item, 1, 0, DataType.INT8))
        return "done"
    return None
