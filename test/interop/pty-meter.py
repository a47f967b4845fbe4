"""Energy meters of one setting each: they answer on a pty while the line has their setting, and are deaf otherwise.

    pty-meter.py '[{"baud": 4800, "unit": 3, "registers": {"304": 5001, "305": 23142}}]'

With `"stop_bits": 2` a meter hears two stop bits only; without it, any. Prints the path of the pty, then "got HEX" for
whatever comes. A range is readable where all of its registers are given; else exception 2, or 1 for a function other than
3. The setting is the one that the other side has made: a pty keeps speed and stop bits, though it has none.
"""

import json
import os
import sys
import termios
import tty

meters = json.loads(sys.argv[1])


def crc(data):
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xA001 if value & 1 else 0)
    return value.to_bytes(2, "little")


def hears(meter, attributes):
    if attributes[5] != getattr(termios, f"B{meter['baud']}"):
        return False
    return meter.get("stop_bits") != 2 or attributes[2] & termios.CSTOPB != 0


def answer(meter, frame):
    if len(frame) != 8 or frame[0] != meter["unit"] or crc(frame[:6]) != frame[6:]:
        return b""
    unit, function, start, count = frame[0], frame[1], int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
    wanted = [meter["registers"].get(str(start + i)) for i in range(count)]
    if function != 3 or None in wanted:
        reply = bytes([unit, function | 0x80, 1 if function != 3 else 2])
    else:
        reply = bytes([unit, function, 2 * count]) + b"".join(value.to_bytes(2, "big") for value in wanted)
    return reply + crc(reply)


master, slave = os.openpty()
tty.setraw(slave)
print(os.ttyname(slave), flush=True)
while True:
    frame = os.read(master, 256)
    print("got", frame.hex(), flush=True)
    for meter in meters:
        if hears(meter, termios.tcgetattr(master)):
            os.write(master, answer(meter, frame))
