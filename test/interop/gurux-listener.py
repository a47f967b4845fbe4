"""Push listener made of Gurux's Python library: prints its UDP port, then the values of the first DataNotification."""

import json
import socket

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import InterfaceType
from gurux_dlms.secure import GXDLMSSecureClient

listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(("127.0.0.1", 0))
listener.settimeout(20)
print(listener.getsockname()[1], flush=True)
frame, _ = listener.recvfrom(4096)
client = GXDLMSSecureClient(True, 1, 1, interfaceType=InterfaceType.WRAPPER)
notify = GXReplyData()
reply = GXReplyData()
client.getData(GXByteBuffer(frame), reply, notify)
print(json.dumps([bytes(v).hex() if isinstance(v, (bytes, bytearray)) else v for v in notify.value]), flush=True)
