"""An energy meter at one speed only: answers on a pty while the line has that speed, and is deaf otherwise.

    pty-meter.py BAUD UNIT '{"304": 5001, "305": 23142}'

Prints the path of the pty. A range is readable where all of its registers are given; else exception 2, or 1 for a function
other than 3. The speed is the one that the other side has set: a pty keeps it, though it has none.
"""

import json
import os
import sys
import termios
import tty

baud, unit, registers = getattr(termios, "B" + sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])


def crc(data):
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xA001 if value & 1 else 0)
    return value.to_bytes(2, "little")


def answer(frame):
    if len(frame) != 8 or frame[0] != unit or crc(frame[:6]) != frame[6:]:
        return b""
    function, start, count = frame[1], int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
    wanted = [registers.get(str(start + i)) for i in range(count)]
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
    if termios.tcgetattr(master)[5] == baud:
        os.write(master, answer(frame))
