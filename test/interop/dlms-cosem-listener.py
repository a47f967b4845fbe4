"""Push listener made of the dlms-cosem library: prints its UDP port, then the values of the first DataNotification."""

import json
import socket

from dlms_cosem import utils
from dlms_cosem.protocol.wrappers import WrapperHeader
from dlms_cosem.protocol.xdlms import DataNotification

listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(("127.0.0.1", 0))
listener.settimeout(20)
print(listener.getsockname()[1], flush=True)
frame, _ = listener.recvfrom(4096)
header = WrapperHeader.from_bytes(frame[:8])
notification = DataNotification.from_bytes(frame[8 : 8 + header.length])
values = utils.parse_as_dlms_data(notification.body)
print(json.dumps([bytes(v).hex() if isinstance(v, (bytes, bytearray)) else v for v in values]), flush=True)
