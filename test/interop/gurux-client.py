"""DLMS client made of Gurux's Python library, driven by dlms.test.ts and the interop matrix.

Usage: gurux-client.py HOST PORT PLAN        PLAN is JSON: {"password": "..." or null, "security": {...}, "steps": [...]}
Also in the plan: "transport" tcp (default), udp or hdlc (inside TCP), "maxPdu", "gbt" (window of general block transfer)
Security: mechanism, title, unicast, authentication, counter; dedicated, general, signing, peer as wanted; in hexadecimal;
  mechanisms md5, sha1 and sha256 with "secret", and "plain" for no ciphering
Steps: ["view"] ["registers"] ["read", CLASS, OBIS, ATTRIBUTE] ["action", OBIS, METHOD] ["message", TEXT] ["release"]
Prints one JSON line for the association and one per step; a refusal is {"error": "..."}.
"""

import json
import sys

from gurux_dlms.ecdsa import GXPrivateKey, GXPublicKey
from gurux_dlms.enums import Authentication, Conformance, DataType, ObjectType, Security
from gurux_dlms.objects import GXDLMSData, GXDLMSDisconnectControl, GXDLMSObject, GXDLMSRegister
from gurux_dlms.objects.enums import SecuritySuite

from gurux_link import Link
from gurux_model import run_model

MECHANISMS = {
    "md5": Authentication.HIGH_MD5,
    "sha1": Authentication.HIGH_SHA1,
    "gmac": Authentication.HIGH_GMAC,
    "sha256": Authentication.HIGH_SHA256,
    "ecdsa": Authentication.HIGH_ECDSA,
}


class Client(Link):
    def __init__(self, host, port, plan):
        password = plan["password"]
        sap, mechanism = (17, Authentication.LOW) if password is not None else (16, Authentication.NONE)
        if "security" in plan:
            sap, mechanism = 1, MECHANISMS[plan["security"]["mechanism"]]
            password = plan["security"].get("secret", password)
        super().__init__(plan.get("transport", "tcp"), host, port, sap, mechanism, password, plan)
        if "security" in plan:
            self.protect(plan["security"])

    def protect(self, security):
        """Keys of client 1; every APDU encrypted and authenticated."""
        ciphering = self.dlms.ciphering
        ciphering.security = Security.NONE if security.get("plain") else Security.AUTHENTICATION_ENCRYPTION
        ciphering.systemTitle = bytes.fromhex(security["title"])
        ciphering.blockCipherKey = bytes.fromhex(security["unicast"])
        ciphering.authenticationKey = bytes.fromhex(security["authentication"])
        ciphering.invocationCounter = security["counter"]
        if security.get("dedicated"):
            ciphering.dedicatedKey = bytes.fromhex(security["dedicated"])
        if security.get("general"):
            self.dlms.proposedConformance |= Conformance.GENERAL_PROTECTION
        if "signing" in security:
            ciphering.securitySuite = SecuritySuite.SUITE_1
            own = GXPrivateKey.fromRawBytes(bytes.fromhex(security["signing"]))
            peer = GXPublicKey.fromRawBytes(bytes.fromhex(security["peer"]))
            ciphering.signingKeyPair = (peer, own)

    def associate(self):
        negotiated = super().associate()
        if self.dlms.authentication > Authentication.LOW:
            reply = self.send(self.dlms.getApplicationAssociationRequest())
            self.dlms.parseApplicationAssociationResponse(reply.data)
        return negotiated


def text(value):
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    return value if isinstance(value, (int, float, bool, type(None))) else str(value)


def run(client, step):
    kind = step[0]
    if kind == "view":
        reply = client.send(client.dlms.getObjectsRequest())
        objects = client.dlms.parseObjects(reply.data, True)
        return [[int(item.objectType), str(item.logicalName), int(item.getAccess(2))] for item in objects]
    if kind == "registers":
        values = {}
        for item in client.dlms.objects.getObjects(ObjectType.REGISTER):
            client.read(item, 3)
            client.read(item, 2)
            values[str(item.logicalName)] = [float(item.value), int(item.unit), float(item.scaler)]
        return values
    if kind == "read":
        item = GXDLMSObject(ObjectType(step[1]), step[2], 0)
        if step[1] == 1:
            item = GXDLMSData(step[2])
        elif step[1] == 3:
            item = GXDLMSRegister(step[2])
        elif step[1] == 70:
            item = GXDLMSDisconnectControl(step[2])
        return text(client.read(item, step[3]))
    if kind == "action":
        client.send(client.dlms.method(GXDLMSDisconnectControl(step[1]), step[2], 0, DataType.INT8))
        return "done"
    if kind == "message":
        item = GXDLMSData("0.0.96.13.0.255")
        item.value = step[1].encode("utf-8")
        item.setDataType(2, DataType.OCTET_STRING)
        client.send(client.dlms.write(item, 2))
        return "done"
    if kind == "release":
        client.send(client.dlms.releaseRequest())
        return "done"
    result = run_model(client, step)
    if result is None:
        raise ValueError(kind)
    return result


def main():
    host, port, plan = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    client = Client(host, port, plan)
    try:
        print(json.dumps({"associated": client.associate()}), flush=True)
    except Exception as error:
        print(json.dumps({"error": "%s: %s" % (type(error).__name__, error)}), flush=True)
        if not plan.get("goOn"):
            return
    for step in plan["steps"]:
        try:
            print(json.dumps({"result": run(client, step)}), flush=True)
        except Exception as error:
            print(json.dumps({"error": "%s: %s" % (type(error).__name__, error)}), flush=True)


main()
