"""Foreign energy meters on one bus: pymodbus as several RTU slaves on a serial line.

    pymodbus-bus.py PORT '{"1": {"3": {"304": 5001}}, "2": {"4": {"0": 17254}, "delay_ms": 200}}'

Units map function codes (3 holding, 4 input) to registers by address; a range is readable only where every register of
it is given. `delay_ms` is how long the unit takes to answer. More objects may follow on stdin, one a line: registers are
put on top, `delay_ms` is changed, `"silent": true` takes the unit off the bus and `false` puts it back; each is answered
with "set". Prints "ready" when the port is
served and "got HEX" for whatever comes from the master, and ends with stdin.
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


class Tracing(Framer):
    def processIncomingPacket(self, data, *args, **kwargs):
        print("got", data.hex(), flush=True)
        super().processIncomingPacket(data, *args, **kwargs)


class Meter(ModbusSlaveContext):
    delay_s = 0

    def validate(self, *args):
        # One bus: while this unit thinks, nobody else speaks.
        time.sleep(self.delay_s)
        return super().validate(*args)


def registers(unit, function):
    return {int(address): value for address, value in unit.get(function, {}).items()}


def meter(unit):
    # A sparse block without registers counts from 0; one far register keeps it empty for everybody.
    blocks = {name: ModbusSparseDataBlock(registers(unit, code) or {0xFFFF: 0}) for name, code in (("hr", "3"), ("ir", "4"))}
    made = Meter(zero_mode=True, **blocks)
    made.delay_s = unit.get("delay_ms", 0) / 1000
    return made


async def follow_stdin(context, meters):
    loop = asyncio.get_running_loop()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            return
        for number, unit in json.loads(line).items():
            held = meters[int(number)]
            held.delay_s = unit.get("delay_ms", 1000 * held.delay_s) / 1000
            for function in ("3", "4"):
                for address, value in registers(unit, function).items():
                    held.setValues(int(function), address, [value])
            if unit.get("silent") is True:
                del context[int(number)]
            elif unit.get("silent") is False:
                context[int(number)] = held
        print("set", flush=True)


async def main():
    path, units = sys.argv[1], json.loads(sys.argv[2])
    # pymodbus swallows the error of a port that cannot be opened.
    serial.Serial(path, 9600, parity="N").close()
    meters = {int(number): meter(unit) for number, unit in units.items()}
    context = ModbusServerContext(slaves=dict(meters), single=False)
    # A pty cannot carry parity.
    line = {"port": path, "baudrate": 9600, "parity": "N", "ignore_missing_slaves": True}
    task = asyncio.ensure_future(StartAsyncSerialServer(context=context, framer=Tracing, **line))
    await asyncio.sleep(0.1)
    print("ready", flush=True)
    await follow_stdin(context, meters)
    task.cancel()


try:
    asyncio.run(main())
except (KeyboardInterrupt, asyncio.CancelledError):
    pass
