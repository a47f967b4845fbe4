"""A foreign energy meter: pymodbus as RTU slave on a serial line.

    pymodbus-slave.py PORT '{"304": 5001, "305": 23142}'

The object maps register addresses to 16-bit values; a range is readable only where every register of it is given. More
objects may follow on stdin, one a line; each is answered with "set" on stdout once its values are in force. Prints
"ready" when the port is served, and ends with stdin.
"""

import asyncio
import json
import sys
import time

import serial
from pymodbus.datastore import ModbusServerContext, ModbusSlaveContext, ModbusSparseDataBlock
from pymodbus.server import StartAsyncSerialServer

try:
    from pymodbus.framer.rtu_framer import ModbusRtuFramer as Framer
except ImportError:
    from pymodbus.transaction import ModbusRtuFramer as Framer

UNIT = 1
HOLDING = 3
# Longer than the pauses between the bursts of one frame, shorter than any between two requests.
FRAME_SILENCE_S = 0.03


class SilenceFramer(Framer):
    """Silence ends a frame (Modbus over serial line V1.02, 2.5.1.1); pymodbus waits for the rest of a broken one for ever."""

    last_at = 0.0

    def processIncomingPacket(self, data, *args, **kwargs):
        now = time.monotonic()
        if now - self.last_at > FRAME_SILENCE_S:
            self.resetFrame()
        self.last_at = now
        return super().processIncomingPacket(data, *args, **kwargs)


def registers(text):
    return {int(address): value for address, value in json.loads(text).items()}


async def follow_stdin(context):
    loop = asyncio.get_running_loop()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            return
        for address, value in registers(line).items():
            context[UNIT].setValues(HOLDING, address, [value])
        print("set", flush=True)


async def main():
    path, initial = sys.argv[1], registers(sys.argv[2])
    # pymodbus swallows the error of a port that cannot be opened.
    serial.Serial(path, 9600, parity="N").close()
    block = ModbusSparseDataBlock(initial)
    context = ModbusServerContext(slaves={UNIT: ModbusSlaveContext(hr=block, zero_mode=True)}, single=False)
    # A pty cannot carry parity.
    server = StartAsyncSerialServer(context=context, framer=SilenceFramer, port=path, baudrate=9600, parity="N")
    task = asyncio.ensure_future(server)
    await asyncio.sleep(0.1)
    print("ready", flush=True)
    await follow_stdin(context)
    task.cancel()


try:
    asyncio.run(main())
except (KeyboardInterrupt, asyncio.CancelledError):
    pass
