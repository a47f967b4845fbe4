"""An energy meter on a pty at the pace of a real line, since a pty has no baud rate.

    paced-meter.py CHARACTER_MS TURNAROUND_MS

Prints the path of the pty. Answers reads of holding registers (any range; the values of a
household at those of an OR-WE-514, else 0): the request takes 8 characters
on the line from the moment its first byte is written, then comes the turnaround, then the reply in the bursts of a
UART's FIFO, the last byte not before its time. Ends when stdin does.
"""

import os
import select
import sys
import time
import tty

BURST = 8  # bytes; a UART with a FIFO of 16 interrupts when it is half full
VALUES = {
    0x000B: 0xA2,
    0x0130: 5001,
    0x0131: 23142,
    0x013A: 1473,
    0x0141: 327,
    0x0149: 98,
    0x0151: 341,
    0x0158: 959,
    0xA000: 3,
    0xA001: 0x0530,
    0xA01E: 1,
    0xA01F: 0x8FCC,
}
SPIN = 0.0008  # s; sleeping is not more exact than that


def crc16(data):
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def reply_to(request):
    start = int.from_bytes(request[2:4], "big")
    count = int.from_bytes(request[4:6], "big")
    words = (VALUES.get(start + i, 0).to_bytes(2, "big") for i in range(count))
    body = bytes([request[0], request[1], 2 * count]) + b"".join(words)
    return body + crc16(body).to_bytes(2, "little")


def wait_until(moment):
    left = moment - time.perf_counter()
    if left > SPIN:
        time.sleep(left - SPIN)
    while time.perf_counter() < moment:
        pass


def main():
    character, turnaround = (float(text) / 1000 for text in sys.argv[1:3])
    master, slave = os.openpty()
    tty.setraw(slave)
    replies = {}
    print(os.ttyname(slave), flush=True)
    request = b""
    poll = select.poll()
    poll.register(master, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == sys.stdin.fileno():
                return
        if not request:
            began = time.perf_counter()
        request += os.read(master, 256)
        if len(request) < 8:
            continue
        frame, request = request[:8], b""
        if frame not in replies:
            replies[frame] = reply_to(frame)
        reply = replies[frame]
        first = began + 8 * character + turnaround
        for at in range(0, len(reply), BURST):
            burst = reply[at : at + BURST]
            wait_until(first + (at + len(burst)) * character)
            os.write(master, burst)


main()
